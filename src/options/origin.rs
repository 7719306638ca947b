//! The origin of an option, and what a statement may not set.

/// How the owner of a program can allow a reference that a statement may not use.
pub(super) const ALLOW: &str =
    "the program can allow that with `KafkaConfig::allow_references_in_sql(true)`";

/// Why a property that runs code is refused.
pub(super) const CODE: &str = "may make the program run commands, load code or open ports, which no \
                               statement may; set it in the program with \
                               `KafkaConfig::with_option`, or in a properties file that the program \
                               names";

/// The origin of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Origin {
    /// The program, its command line or a properties file.
    #[default]
    Program,
    /// A statement, whose author need not be the owner of the program.
    Statement,
    /// A statement whose author may read everything that the program may read.
    TrustedStatement,
}

impl Origin {
    /// The origin of a statement, in a session that allows references or does not.
    pub(crate) fn statement(allows_references: bool) -> Self {
        match allows_references {
            true => Origin::TrustedStatement,
            false => Origin::Statement,
        }
    }

    /// Whether values may refer to files and to the program's environment.
    pub(super) fn may_refer(self) -> bool {
        self != Origin::Statement
    }
}
