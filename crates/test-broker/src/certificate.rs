//! The certificate of the listeners with TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;

/// The password of the keystore that [`certificate`] makes, and of its key.
pub const KEYSTORE_PASSWORD: &str = "changeit";

/// Creates a key for 127.0.0.1 in `keystore.p12` of a directory, and its self-signed certificate in
/// `ca.pem`. Returns the path of `ca.pem`.
///
/// # Errors
///
/// An error if `keytool` fails or is missing; Java comes with it.
pub fn certificate(dir: &Path) -> Result<PathBuf, String> {
    let (keystore, pem) = (dir.join("keystore.p12"), dir.join("ca.pem"));
    let keytool = |act: &str| {
        let mut keytool = Command::new("keytool");
        keytool.args([act, "-alias", "kafka"]);
        keytool.arg("-keystore").arg(&keystore);
        keytool.args(["-storepass", KEYSTORE_PASSWORD, "-storetype", "PKCS12"]);
        keytool
    };
    let mut make = keytool("-genkeypair");
    make.args([
        "-keyalg",
        "EC",
        "-groupname",
        "secp256r1",
        "-validity",
        "30",
    ]);
    make.args(["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1"]);
    run(&mut make, "Java's keytool")?;
    let mut export = keytool("-exportcert");
    run(export.arg("-rfc").arg("-file").arg(&pem), "Java's keytool")?;
    Ok(pem)
}
