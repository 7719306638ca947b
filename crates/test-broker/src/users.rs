//! Who may log in to a broker of the tests.

/// The user of the listeners with SASL who may do everything.
pub const SASL_USER: &str = "alice";
/// The password of [`SASL_USER`].
pub const SASL_PASSWORD: &str = "alice-secret";

/// The password of the users of the SASL_PLAINTEXT listener who have no rights but those that
/// tests give them: `user-0` and so on.
pub const USER_PASSWORD: &str = "user-secret";
/// How many such users there are.
pub(crate) const USERS: usize = 64;
