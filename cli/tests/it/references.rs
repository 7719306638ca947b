//! References in SQL to files and the environment, which the program allows: its user types the
//! SQL.

use crate::broker::{self, Rec};
use crate::program::{failure, file, printed, program};

#[test]
fn statements_refer_to_files_and_the_environment_but_bring_no_code_in() {
    let Some(broker) = broker::required("statements_refer_to_files") else {
        return;
    };
    let topic = broker.new_topic("referring", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":1}"#)]);
    let create = |options: &str| {
        format!("CREATE EXTERNAL TABLE t STORED AS KAFKA LOCATION '{topic}' OPTIONS ({options})")
    };
    let query = |options: &str| {
        let mut program = program();
        program.args(["-b", &broker.servers, "-q", "--format", "csv"]);
        program.args(["-c", &create(options), "-c", "SELECT n FROM t"]);
        program.env("REFERRED_TO", "hunter2");
        program
    };
    let secret = file("secret", "hunter2\n");
    let secret = secret.path().display();
    let properties = file(
        "client.properties",
        "client.id=me\nplugin.library.paths=/no/such.so\n",
    );
    let properties = properties.path().display();
    for options in [
        "'kafka.client.client.id' '${env:REFERRED_TO}'".to_owned(),
        format!("'kafka.client.client.id' '${{file:{secret}}}'"),
        format!("'kafka.properties.file' '{properties}'"),
    ] {
        assert_eq!(printed(&mut query(&options)), "n\n1\n", "{options}");
    }
    let code = "may make the program run commands, load code or open ports, which no statement may";
    for (options, said) in [
        ("'kafka.client.sasl.kerberos.kinit.cmd' 'touch x'", code),
        ("'kafka.client.ssl.engine.location' '/no/such.so'", code),
        ("'kafka.consumer.ssl.providers' '/no/such.so'", code),
        (
            "'kafka.client.plugin.library.paths' '/no/such.so'",
            "plugins are not supported",
        ),
        (
            "'kafka.bootstrap.servers' '${env:REFERRED_TO}'",
            "is not looked up in servers",
        ),
    ] {
        let why = failure(&mut query(options));
        assert!(why.contains(said), "{why}");
        assert!(!why.contains("hunter2"), "{why}");
    }
    // The command line itself is not SQL.
    let mut servers = program();
    servers.args(["-b", "${env:REFERRED_TO}", "-c", "SHOW TABLES"]);
    let why = failure(servers.env("REFERRED_TO", "hunter2"));
    assert!(why.contains("is not looked up in servers"), "{why}");
    assert!(!why.contains("hunter2"), "{why}");
}
