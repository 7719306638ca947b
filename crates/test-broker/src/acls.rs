//! Rights of the tests' users: the ACLs that `kafka-acls.sh` manages.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::broker::Broker;
use crate::requests::string;
use crate::users::USERS;
use crate::wait::{PATIENCE, wait_until};

const DESCRIBE_ACLS: i16 = 29;
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
/// The last version without compact encodings.
const VERSION: i16 = 1;

/// A right, in the words of the broker's errors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// `READ`, `WRITE`, `CREATE` or `DESCRIBE`.
    pub operation: String,
    /// `topic`, `group` or `transactional id`.
    pub resource: String,
    /// The name of the resource.
    pub name: String,
    /// Whether the right covers all names that start with this one.
    pub prefixed: bool,
}

impl Right {
    /// A right on the resource of this name.
    pub fn new(operation: &str, resource: &str, name: &str) -> Self {
        Right {
            operation: operation.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            prefixed: false,
        }
    }

    /// A right on all resources whose names start with this prefix.
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

    /// The fields type, name, pattern, principal, host, operation and permission. They describe a
    /// right, and also the filter that finds the right.
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
    /// A user without any rights. No other test gets the same user.
    pub fn new_user(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        assert!(n < USERS, "more users are needed");
        format!("user-{n}")
    }

    /// Gives a user a right, and waits until the broker has applied the change.
    pub fn allow(&self, user: &str, right: &Right) {
        let one = 1_i32.to_be_bytes();
        let right = right.encode(user);
        let answer = self.ask(CREATE_ACLS, VERSION, &[&one, right.as_slice()].concat());
        let result = &answer[8..10];
        assert_eq!(result, [0, 0], "{user}: {answer:?}");
        wait_until(PATIENCE, "the right is known", || self.knows(&right));
    }

    /// Takes a right from a user, and waits until the broker has applied the change.
    pub fn take_back(&self, user: &str, right: &Right) {
        let one = 1_i32.to_be_bytes();
        let right = right.encode(user);
        let answer = self.ask(DELETE_ACLS, VERSION, &[&one, right.as_slice()].concat());
        assert_eq!(&answer[8..10], [0, 0], "{user}: {answer:?}");
        wait_until(PATIENCE, "the right is gone", || !self.knows(&right));
    }

    fn knows(&self, right: &[u8]) -> bool {
        let answer = self.ask(DESCRIBE_ACLS, VERSION, right);
        // After the throttle time come the error code 0 and an empty error text.
        assert_eq!(answer[4..8], [0; 4], "{answer:?}");
        answer[8..12] != [0; 4]
    }
}
