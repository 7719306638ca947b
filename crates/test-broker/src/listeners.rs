//! Servers that a client may find where a broker should be, and servers that act as a broker in
//! trouble.
//!
//! Each function starts a server on a port of its own at 127.0.0.1 and returns its address. The
//! server runs until the process ends.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// The API key of a Metadata request.
pub const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// A port that no process listens on.
pub fn nobody() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Accepts connections and handles each of them with this function.
pub fn serve(with: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let with = with.clone();
            // The result does not matter: a client that leaves has seen enough.
            thread::spawn(move || with(stream).ok());
        }
    });
    address
}

/// Responds like an HTTP server.
pub fn http() -> String {
    serve(|mut stream| {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request)?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    })
}

/// Sends the greeting of an SSH server, and waits.
pub fn ssh() -> String {
    serve(|mut stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n")?;
        io::copy(&mut stream, &mut io::sink()).map(drop)
    })
}

/// Closes each connection immediately.
pub fn closing() -> String {
    serve(|_| Ok(()))
}

/// Reads requests and answers nothing.
pub fn silent() -> String {
    serve(|mut stream| io::copy(&mut stream, &mut io::sink()).map(drop))
}

/// A broker with a topic `t` that advertises this address.
pub fn advertising(host: &'static str, port: u16) -> String {
    serve(move |stream| {
        kafka(stream, |api, _| match api {
            METADATA => Answer::Is(metadata(Some((host, port)), &["t"])),
            _ => Answer::Never,
        })
    })
}

/// A broker that closes the connection when a login begins.
pub fn closing_at_login() -> String {
    serve(|stream| kafka(stream, |_, _| Answer::Close))
}

/// What a server does with a request.
pub enum Answer {
    /// Sends these bytes, after the response header.
    Is(Vec<u8>),
    /// Leaves the request unanswered.
    Never,
    /// Closes the connection.
    Close,
}

/// Answers the ApiVersions request, which every client sends first, and passes the other requests
/// to `answer`, with their API key.
///
/// # Errors
///
/// An error when the client has left.
pub fn kafka(mut stream: TcpStream, answer: impl Fn(i16, &[u8]) -> Answer) -> io::Result<()> {
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        stream.read_exact(&mut request)?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let answer = match (number(0), number(2)) {
            (API_VERSIONS, 0) => Answer::Is(versions(0)),
            (API_VERSIONS, _) => Answer::Is(versions(UNSUPPORTED_VERSION)),
            (api, _) => answer(api, &request),
        };
        match answer {
            Answer::Is(answer) => {
                let size = i32::try_from(4 + answer.len()).unwrap().to_be_bytes();
                stream.write_all(&[&size, &request[4..8], &answer].concat())?;
            }
            Answer::Never => {}
            Answer::Close => return Ok(()),
        }
    }
}

/// The ApiVersions response in version 0, the only version that these servers answer without an
/// error.
fn versions(error: i16) -> Vec<u8> {
    let known = [(METADATA, 1_i16), (SASL_HANDSHAKE, 1), (API_VERSIONS, 0)];
    let mut answer = error.to_be_bytes().to_vec();
    answer.extend(i32::try_from(known.len()).unwrap().to_be_bytes());
    for (api, last) in known {
        for number in [api, 0, last] {
            answer.extend(number.to_be_bytes());
        }
    }
    answer
}

/// A response to [`METADATA`] in version 1: the broker at this address, which leads these topics of
/// one partition each.
pub fn metadata(broker: Option<(&str, u16)>, topics: &[impl AsRef<str>]) -> Vec<u8> {
    let text = |text: &str| {
        let size = i16::try_from(text.len()).unwrap().to_be_bytes();
        [&size, text.as_bytes()].concat()
    };
    let numbers = |numbers: &[i32]| {
        let bytes = numbers.iter().map(|number| number.to_be_bytes());
        bytes.collect::<Vec<_>>().concat()
    };
    let (no_rack, is_not_internal, no_error) = ([0xff; 2], [0], [0; 2]);
    let mut answer = match broker {
        None => numbers(&[0, -1]),
        Some((host, port)) => {
            let address = [text(host), numbers(&[i32::from(port)])].concat();
            [numbers(&[1, 1]), address, no_rack.to_vec(), numbers(&[1])].concat()
        }
    };
    answer.extend(numbers(&[i32::try_from(topics.len()).unwrap()]));
    for topic in topics {
        answer.extend(no_error);
        answer.extend(text(topic.as_ref()));
        answer.extend(is_not_internal);
        answer.extend(numbers(&[1]));
        answer.extend(no_error);
        // Partition 0: its leader, only replica and only in-sync replica is broker 1.
        answer.extend(numbers(&[0, 1, 1, 1, 1, 1]));
    }
    answer
}
