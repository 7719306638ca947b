//! Logins with the tokens of an OpenID provider. The provider here is a few lines of code.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use assert_cmd::Command;

use crate::broker::{self, Rec};
use crate::program::{failure, file, printed, program};

/// `{"alg":"none"}` and `{"sub":"alice","iat":1,"exp":4102444800}`. The broker's listener accepts a
/// token without a signature.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MSwiZXhwIjo0MTAyNDQ0ODAwfQ.";

/// `reports` and `s3cret` in base64, as the client sends its credentials.
const LOGIN: &str = "Basic cmVwb3J0czpzM2NyZXQ=";

/// The address of a token endpoint that knows one client. The endpoint stops with the process.
fn endpoint() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that has left needs no answer.
            let _ = answer(client);
        }
    });
    format!("http://{address}/token")
}

fn answer(client: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(&client);
    let (mut knows, mut length, mut line) = (false, 0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => knows = value.trim() == LOGIN,
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        line.clear();
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    let (status, answer) = match knows && body.contains("grant_type=client_credentials") {
        true => ("200 OK", format!(r#"{{"access_token":"{TOKEN}"}}"#)),
        false => (
            "401 Unauthorized",
            r#"{"error":"invalid_client","error_description":"no such client"}"#.to_owned(),
        ),
    };
    write!(
        &client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// A query on the listener that takes tokens, as this client.
fn with_token(servers: &str, endpoint: &str, secret: &str, query: &str) -> Command {
    let mut program = program();
    program.args(["-b", servers, "-q", "--format", "csv", "-c", query]);
    for property in [
        "security.protocol=SASL_PLAINTEXT".to_owned(),
        "sasl.mechanism=OAUTHBEARER".to_owned(),
        "sasl.oauthbearer.method=oidc".to_owned(),
        "sasl.oauthbearer.client.id=reports".to_owned(),
        format!("sasl.oauthbearer.client.secret={secret}"),
        format!("sasl.oauthbearer.token.endpoint.url={endpoint}"),
    ] {
        program.args(["-X", &property]);
    }
    program
}

#[test]
fn a_token_of_an_openid_provider_is_a_login() {
    let Some(broker) = broker::required("a_token_of_an_openid_provider_is_a_login") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = broker.new_topic("tokens", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":1}"#)]);
    let endpoint = endpoint();
    let query = format!("SELECT n FROM \"{topic}\"");
    let answer = printed(&mut with_token(servers, &endpoint, "s3cret", &query));
    assert_eq!(answer, "n\n1\n");
    let insert = format!("INSERT INTO \"{topic}\" SELECT 'b' AS _key, 2 AS n");
    let answer = printed(&mut with_token(servers, &endpoint, "s3cret", &insert));
    assert_eq!(answer, "count\n1\n");

    // The properties as Java clients write them.
    let java = format!(
        "security.protocol=SASL_PLAINTEXT
sasl.mechanism=OAUTHBEARER
sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler
sasl.oauthbearer.token.endpoint.url={endpoint}
sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId='reports' clientSecret='s3cret';
"
    );
    let java = file(".properties", &java);
    let answer = printed(
        program()
            .args(["-b", servers, "-q", "--format", "csv", "-F"])
            .arg(java.path())
            .args(["-c", &format!("SELECT count(*) AS n FROM \"{topic}\"")]),
    );
    assert_eq!(answer, "n\n2\n");
}

#[test]
fn a_provider_that_gives_no_token_is_an_error_that_says_why() {
    // Without a token no broker is asked.
    let query = "SELECT n FROM orders";
    let error = failure(&mut with_token(
        "127.0.0.1:1",
        &endpoint(),
        "wr0ng-s3cret",
        query,
    ));
    assert!(error.contains("cannot log in to Kafka"), "{error}");
    assert!(error.contains("OAUTHBEARER token"), "{error}");
    assert!(error.contains("no such client"), "{error}");
    assert!(!error.contains("wr0ng-s3cret"), "{error}");

    let nowhere = "http://127.0.0.1:1/token";
    let error = failure(&mut with_token("127.0.0.1:1", nowhere, "s3cret", query));
    assert!(error.contains("OAUTHBEARER token"), "{error}");
    assert!(error.contains("onnect"), "{error}");
}
