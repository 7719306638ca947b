//! Getting and running Apache Kafka.

use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Broker, PATIENCE, Tls, nanos, say};

/// The user of the listeners with SASL who may do everything.
pub const SASL_USER: &str = "alice";
pub const SASL_PASSWORD: &str = "alice-secret";

/// The password of users of the SASL_PLAINTEXT listener who have no rights but those that tests
/// give them: `user-0` and so on.
pub const USER_PASSWORD: &str = "user-secret";
pub const USERS: usize = 64;

const POM: &str = include_str!("../pom.xml");

/// The directory that holds Kafka's jars, filled by Maven the first time.
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

    // Filled elsewhere and renamed when complete: what bears the name is whole, whoever else
    // fetches at the same time and however this run ends.
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

fn run(command: &mut Command, name: &str) -> Result<Output, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{name} is needed to start one: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{name} failed: {}",
        String::from_utf8_lossy(&said).trim()
    ))
}

/// Runs Kafka (in directory `$1`, jars in `$2`, cluster id `$3`, with the user `$4` and the
/// memory `$5`) until standard input closes. A line there kills it and starts it again.
///
/// Nothing runs at the end of a Rust test process, which may as well be killed; but the kernel
/// closes its end of the pipe, always. Then there is nothing to save: SIGKILL, and away with the
/// directory.
const SHELL: &str = r#"
cd "$1" || exit
# A background command's standard input is /dev/null unless it comes from somewhere else.
exec 3<&0
{
    while read -r _; do touch restarting; kill -KILL "$(cat pid)"; done
    touch stopped; kill -KILL "$(cat pid)"
} <&3 2>/dev/null &
reader=$!
{
    java -Xmx128m -cp "$2/*" kafka.tools.StorageTool format -t "$3" --add-scram "$4" \
        -c server.properties >log 2>&1 &&
    while [ ! -e stopped ]; do
        java $5 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
            -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$2/*" kafka.Kafka server.properties \
            >>log 2>&1 &
        echo $! >pid
        wait $! 2>/dev/null # which would say "Killed"
        [ -e restarting ] && rm restarting || break
    done
} </dev/null 2>/dev/null
kill $reader 2>/dev/null
[ -e stopped ] || { echo "Apache Kafka ended by itself; its last words:"; tail -n 30 log; } >&2
cd / && rm -rf "$1"
"#;

/// A Kafka of a test's own, to be killed and started again, where the others can be started.
pub fn own() -> Result<Broker, String> {
    own_with("")
}

/// The same with these properties of a broker beside those that it has, or in their place.
pub fn own_with(properties: &str) -> Result<Broker, String> {
    start_with(&jars()?, properties)
}

pub fn start(jars: &Path) -> Result<Broker, String> {
    start_with(jars, "")
}

fn start_with(jars: &Path, more: &str) -> Result<Broker, String> {
    let io = |e: io::Error| format!("cannot start Apache Kafka: {e}");
    let ports = free_ports().map_err(io)?;
    let cluster_id = cluster_id();
    let dir = tempfile::Builder::new()
        .prefix("datafusion-kafka-broker-")
        .tempdir()
        .map_err(io)?;
    let ca = certificate(dir.path())?;
    let properties = server_properties(dir.path(), ports) + more;
    fs::write(dir.path().join("server.properties"), properties).map_err(io)?;
    let [plain, sasl, tls, no_login, mutual, _] = ports.map(|port| format!("127.0.0.1:{port}"));
    let keystore = dir.path().join("keystore.p12");

    let mut shell = shell(dir.path(), jars, &cluster_id, "-Xms256m -Xmx1g");
    let mut shell = shell.spawn().map_err(io)?;
    let _removed_by_the_shell = dir.keep();

    let mut broker = Broker {
        servers: plain,
        sasl_servers: Some(sasl),
        tls: Some(Tls {
            servers: tls,
            no_login,
            mutual,
            ca,
            keystore,
        }),
        _shell: None,
    };
    let deadline = Instant::now() + PATIENCE;
    while !broker.answers_as(&cluster_id) {
        if shell.try_wait().map_err(io)?.is_some() {
            return Err("Apache Kafka ended while it started; its last words are above".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("Apache Kafka has not answered for {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    broker._shell = Some(shell);
    Ok(broker)
}

/// An id that no other cluster has: 16 bytes in base64, of which the last character has only two
/// bits.
pub(super) fn cluster_id() -> String {
    format!("{:021x}A", nanos() << 22 | u128::from(std::process::id()))
}

/// The shell that runs a Kafka whose properties are in the directory, with this much memory.
pub(super) fn shell(dir: &Path, jars: &Path, cluster_id: &str, memory: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", SHELL, "kafka"])
        .args([dir, jars])
        .arg(cluster_id)
        .arg(format!(
            "SCRAM-SHA-512=[name={SASL_USER},password={SASL_PASSWORD}]"
        ))
        .arg(memory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    // Out of reach of the terminal's Ctrl-C: the shell has a directory to remove yet.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    shell
}

/// Ports that nobody listens on, all different because all are held at once.
fn free_ports() -> io::Result<[u16; 6]> {
    let hold = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..6).map(hold).collect::<io::Result<Vec<_>>>()?;
    let mut ports = [0; 6];
    for (port, held) in ports.iter_mut().zip(&held) {
        *port = held.local_addr()?.port();
    }
    Ok(ports)
}

/// Makes the key of 127.0.0.1, in `keystore.p12`, and its certificate, which nobody else signed.
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

pub const KEYSTORE_PASSWORD: &str = "changeit";

fn server_properties(
    dir: &Path,
    [plain, sasl, tls, no_login, mutual, controller]: [u16; 6],
) -> String {
    let dir = dir.display();
    let users = (0..USERS).map(|n| format!(" user_user-{n}=\"{USER_PASSWORD}\""));
    let users: String = users.collect();
    let listeners = format!(
        "PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},\
         SASL_SSL://127.0.0.1:{tls},SSL://127.0.0.1:{no_login},MUTUAL://127.0.0.1:{mutual}"
    );
    format!(
        r#"
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,MUTUAL:SSL
listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,OAUTHBEARER
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="kafka";
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}="{SASL_PASSWORD}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.location={dir}/keystore.p12
ssl.keystore.password={KEYSTORE_PASSWORD}
ssl.keystore.type=PKCS12
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.truststore.location={dir}/ca.pem
listener.name.mutual.ssl.truststore.type=PEM
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}="{SASL_PASSWORD}"{users};
log.dirs={dir}/data
# Who does not log in may do everything, as may the holder of the certificate and one user; the
# others what they are allowed.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{SASL_USER};User:CN=127.0.0.1

# A topic that a test did not create is a bug in the test.
auto.create.topics.enable=false
# One node: internal topics of one replica and few partitions.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
message.max.bytes=16777216
# Compaction and retention as soon as there is something to do.
log.initial.task.delay.ms=100
log.cleaner.backoff.ms=100
log.retention.check.interval.ms=200
# Transactions that are open too long are ended soon.
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
"#
    )
}
