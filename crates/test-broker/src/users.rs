//! The users who may log in to a broker of the tests.

/// The user of the SASL listeners who has all rights.
pub const SASL_USER: &str = "alice";
/// The password of [`SASL_USER`].
pub const SASL_PASSWORD: &str = "alice-secret";

/// The password of the users `user-0` and so on of the SASL_PLAINTEXT listener. They have only the
/// rights that tests give to them.
pub const USER_PASSWORD: &str = "user-secret";
/// The number of these users.
pub(crate) const USERS: usize = 64;
