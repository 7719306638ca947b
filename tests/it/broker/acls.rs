//! Rights of the tests' users, as `kafka-acls.sh` gives them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::start::USERS;
use super::{Broker, PATIENCE, wait_until};

const DESCRIBE_ACLS: i16 = 29;
const CREATE_ACLS: i16 = 30;
/// The last one without compact encodings.
const VERSION: i16 = 1;

/// A right as the broker's errors name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub operation: String,
    pub resource: String,
    pub name: String,
    /// Whether it is for all names that begin so.
    pub prefixed: bool,
}

impl Right {
    pub fn new(operation: &str, resource: &str, name: &str) -> Self {
        Right {
            operation: operation.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            prefixed: false,
        }
    }

    /// On all names that begin so.
    pub fn on_prefix(operation: &str, resource: &str, name: &str) -> Self {
        Right {
            prefixed: true,
            ..Self::new(operation, resource, name)
        }
    }

    fn resource(&self) -> i8 {
        match self.resource.as_str() {
            "topic" => 2,
            "group" => 3,
            "transactional id" => 5,
            other => panic!("no resource: {other}"),
        }
    }

    fn operation(&self) -> i8 {
        match self.operation.as_str() {
            "READ" => 3,
            "WRITE" => 4,
            "CREATE" => 5,
            "DESCRIBE" => 8,
            other => panic!("no operation: {other}"),
        }
    }

    /// Type, name, pattern, principal, host, operation, permission: a right, and the filter that
    /// finds it.
    fn encode(&self, user: &str) -> Vec<u8> {
        let (literal, prefixed, allow) = (3, 4, 3);
        let pattern = if self.prefixed { prefixed } else { literal };
        [
            self.resource().to_be_bytes().to_vec(),
            string(&self.name),
            i8::to_be_bytes(pattern).to_vec(),
            string(&format!("User:{user}")),
            string("*"),
            self.operation().to_be_bytes().to_vec(),
            i8::to_be_bytes(allow).to_vec(),
        ]
        .concat()
    }
}

impl Broker {
    /// A user without any rights, whom no other test has.
    pub fn new_user(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        assert!(n < USERS, "more users are needed");
        format!("user-{n}")
    }

    /// Gives a user a right, and waits until the broker knows.
    pub fn allow(&self, user: &str, right: &Right) {
        let one = 1_i32.to_be_bytes();
        let right = right.encode(user);
        let answer = self.ask(CREATE_ACLS, &[&one, right.as_slice()].concat());
        let result = &answer[8..10];
        assert_eq!(result, [0, 0], "{user}: {answer:?}");
        wait_until(PATIENCE, "the right is known", || {
            let answer = self.ask(DESCRIBE_ACLS, &right);
            // Behind the time of throttling, no error and an empty text of one.
            assert_eq!(answer[4..8], [0; 4], "{user}: {answer:?}");
            answer[8..12] != [0; 4]
        });
    }

    /// What the broker answers behind its header.
    fn ask(&self, api: i16, request: &[u8]) -> Vec<u8> {
        let id = 1_i32.to_be_bytes();
        let header = [&api.to_be_bytes()[..], &VERSION.to_be_bytes(), &id].concat();
        let request = [header, string("tests"), request.to_vec()].concat();
        let size = i32::try_from(request.len()).unwrap().to_be_bytes();
        let mut stream = TcpStream::connect(&self.servers).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[&size[..], &request].concat()).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], id);
        answer.split_off(4)
    }
}

fn string(text: &str) -> Vec<u8> {
    let size = i16::try_from(text.len()).unwrap().to_be_bytes();
    [&size, text.as_bytes()].concat()
}
