# What must hold before a release. The steps that only check use the oldest supported Rust and,
# where that is possible, the features of the workspace without its tests, so that what the steps
# have in common is checked once.

check_workspace() {
    cargo "${rust[@]}" check --workspace
}

document_workspace() {
    RUSTDOCFLAGS="-D warnings" cargo "${rust[@]}" doc --workspace --no-deps
}

check() {
    local start=$SECONDS
    echo "-- cargo check $*"
    cargo "${rust[@]}" check "$@"
    echo "-- cargo check $*: $((SECONDS - start)) s"
}

# The workspace turns on features for the command line program that users of the library lack. The
# library without its default features is in the next step: it has all of DataFusion built again.
check_feature_sets() {
    check -p datafusion-kafka-cli --no-default-features
    # With the default features. `ssl` and `gssapi` are only features of librdkafka: they choose
    # none of the code in Rust, and each set of them has librdkafka built again.
    if [[ -e /usr/include/openssl/ssl.h && -e /usr/include/sasl/sasl.h ]]; then
        check -p datafusion-kafka --features ssl,gssapi
    else
        check -p datafusion-kafka
        left_out+=("the features ssl and gssapi (no libssl-dev or libsasl2-dev)")
    fi
}

# With the lowest versions that the manifests allow, which nobody else builds with, and without the
# library's default features.
check_lowest_versions() {
    local copy="$CARGO_TARGET_DIR/lowest-versions"
    rm -rf "$copy"
    mkdir -p "$copy"
    git ls-files -z | tar --null --ignore-failed-read -T - -cf - | tar -xf - -C "$copy"
    (
        cd "$copy"
        RUSTC_BOOTSTRAP=1 cargo update -Z direct-minimal-versions
        check --locked -p datafusion-kafka --no-default-features
    )
}

# The public API of each library that is published, as its `public-api.txt` has it.
compare_public_api() {
    local manifest file name new="$CARGO_TARGET_DIR/public-api.txt"
    if ((${#rust[@]} == 0)); then
        left_out+=("the public API (Rust $msrv writes it)")
        return
    fi
    RUSTDOC="$PWD/.ci/rustdoc" RUSTDOCFLAGS="-Z unstable-options --output-format json --cap-lints allow" \
        cargo "${rust[@]}" doc --workspace --no-deps --lib
    for manifest in Cargo.toml crates/*/Cargo.toml; do
        ! grep -q '^publish = false' "$manifest" || continue
        file="${manifest%Cargo.toml}public-api.txt"
        name=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$manifest" | head -n 1)
        cargo run --quiet --locked --manifest-path .ci/public-api/Cargo.toml \
            --target-dir "$tools/list-public-api" -- \
            "$CARGO_TARGET_DIR/doc/${name//-/_}.json" >"$new"
        if [[ -n ${UPDATE_PUBLIC_API:-} ]]; then
            cp "$new" "$file"
        elif ! diff -u "$file" "$new"; then
            echo "The public API is not the one in $file."
            echo "If the change is meant: UPDATE_PUBLIC_API=1 .ci/run 'public API', and read the diff."
            return 1
        fi
    done
}

check_dependencies() {
    if has_cargo_tool cargo-machete; then
        cargo machete
    fi
    if has_cargo_tool cargo-deny; then
        cargo deny check bans licenses sources
        if timeout 60 cargo deny fetch db; then
            cargo deny check advisories
        else
            left_out+=("security advisories (their database cannot be reached)")
        fi
    fi
}

# All that `cargo publish` does before it uploads, but for a build.
package_crates() {
    cargo publish --workspace --dry-run --no-verify --allow-dirty
}
