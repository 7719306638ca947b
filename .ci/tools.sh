# What the checks need. Tools of the system are installed by root with apt-get; Rust's are built
# once, with fixed versions, beside the target directory.

tools="${CARGO_TARGET_DIR%/*}/tools"
cargo_tools=(cargo-machete@0.9.2 cargo-deny@0.20.2)
export PATH="$tools/bin:$PATH"

have() {
    command -v "$1" >/dev/null
}

install_missing() {
    local packages=()
    have cc || packages+=(gcc)
    have c++ || packages+=(g++)
    have make || packages+=(make)
    have cmake || packages+=(cmake)
    # With its modules: OpenSSL, which the command line program is built with, needs some.
    perl -MFindBin -MIPC::Cmd -e1 2>/dev/null || packages+=(perl)
    [[ -e /usr/include/zlib.h ]] || packages+=(zlib1g-dev)
    # For the features that use the system's libraries.
    have pkg-config || packages+=(pkg-config)
    [[ -e /usr/include/openssl/ssl.h ]] || packages+=(libssl-dev)
    [[ -e /usr/include/sasl/sasl.h ]] || packages+=(libsasl2-dev)
    have java || packages+=(openjdk-17-jre-headless)
    have mvn || packages+=(maven)
    have kcat || packages+=(kcat)
    if ((${#packages[@]} > 0)) && ((EUID == 0)) && have apt-get; then
        # What is still missing then is said, or fails, where it is needed.
        apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "${packages[@]}" ||
            echo "apt-get could not install: ${packages[*]}"
    fi
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

# cargo_install TOOL@VERSION...: without optimization, which takes longer than the tool saves.
cargo_install() {
    exec env -u CARGO_TARGET_DIR timeout 1800 \
        cargo install --locked --quiet --debug --root "$tools" "$@"
}

# Begins to install cargo's tools with what the tests, which mostly wait for brokers, leave of the
# processor.
begin_to_install() {
    is_wanted "dependencies" || return 0
    (renice -n 19 "$BASHPID" && cargo_install "${cargo_tools[@]}") >/dev/null 2>&1 &
    installing=$!
}

# Whether a tool of cargo is there, once its installation has ended.
has_cargo_tool() {
    local tool
    [[ -z ${installing:-} ]] || wait "$installing" || true
    installing=""
    for tool in "${cargo_tools[@]}"; do
        [[ ${tool%@*} == "$1" ]] || continue
        # Returns at once where the version is installed.
        (cargo_install "$tool") && return 0
        left_out+=("$1 (cargo install --locked $tool)")
    done
    return 1
}

# Sets `rust` to the arguments of cargo that choose the oldest supported Rust, and `msrv` to its
# version; `rust` is empty where that toolchain cannot be had.
find_oldest_rust() {
    rust=()
    msrv=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! have rustup; then
        left_out+=("checks with Rust $msrv instead of the default one (no rustup)")
        return
    fi
    export RUSTUP_AUTO_INSTALL=0
    if [[ ${CI:-} == true ]] && ! cargo "+$msrv" --version >/dev/null 2>&1; then
        timeout 600 rustup toolchain install "$msrv" --profile minimal --no-self-update || true
    fi
    if cargo "+$msrv" --version; then
        rust=("+$msrv")
    else
        left_out+=("checks with Rust $msrv instead of the default one (rustup toolchain install $msrv)")
    fi
}
