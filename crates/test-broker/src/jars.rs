//! Getting Apache Kafka.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::command::run;
use crate::missing::say;

/// The file that tells Maven what to fetch. Its own version is the version of Kafka.
const POM: &str = include_str!("../pom.xml");

/// The directory with Kafka's jars. Maven fills it on first use.
///
/// The directory is `datafusion-kafka/kafka-VERSION` in `$XDG_CACHE_HOME`, or else in `~/.cache`.
///
/// # Errors
///
/// An error if Java is missing, or if the jars are missing and Maven cannot fetch them.
pub fn jars() -> Result<PathBuf, String> {
    run(Command::new("java").arg("-version"), "Java (17 or later)")?;

    let version = POM
        .split_once("<version>")
        .and_then(|(_, rest)| rest.split_once("</version>"))
        .map(|(version, _)| version)
        .ok_or("pom.xml has no version")?;
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => env::home_dir()
            .ok_or("no home directory to cache Kafka in")?
            .join(".cache"),
    }
    .join("datafusion-kafka");
    let jars = cache.join(format!("kafka-{version}"));
    if jars.is_dir() {
        return Ok(jars);
    }

    // The jars are fetched to another directory, which is renamed when complete. A directory of the
    // final name is therefore always complete, even if another process fetches at the same time, or
    // this process is killed.
    say(&format!(
        "fetching Apache Kafka {version} with Maven into {}",
        jars.display()
    ));
    let io = |e: io::Error| format!("{}: {e}", cache.display());
    fs::create_dir_all(&cache).map_err(io)?;
    let partial = tempfile::Builder::new()
        .prefix("partial-")
        .tempdir_in(&cache)
        .map_err(io)?;
    let pom = partial.path().join("pom.xml");
    fs::write(&pom, POM).map_err(io)?;
    run(
        Command::new("mvn")
            .args(["-q", "-B", "-Dstyle.color=never", "-f"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", partial.path().display())),
        "Maven",
    )?;
    match fs::rename(partial.path(), &jars) {
        Err(_) if jars.is_dir() => Ok(jars),
        renamed => renamed.map(|()| jars).map_err(io),
    }
}
