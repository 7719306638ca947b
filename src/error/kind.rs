//! What errors have in common, for programs that act on them.

use crate::error::{Error, ErrorCode, FetchFailure};

/// What an [`Error`] is about: what a program can tell apart without knowing every variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option, a file that an option names, a pattern or a LOCATION.
    Configuration,
    /// Columns that are declared, inferred or named in a statement.
    Schema,
    /// Servers that do not answer, or a request that failed on its way.
    Connection,
    /// A login that is refused, or a right that is missing.
    Access,
    /// A topic that does not exist, or offsets that are gone.
    NotFound,
    /// A record that does not fit the table, or a row that does not fit a record.
    Data,
    /// Records that the brokers did not take, or a transaction that they did not end.
    Write,
    /// A continuous query: its statement, its name, or another instance of it.
    ContinuousQuery,
    /// Something that the library does not do.
    Unsupported,
    /// An error of DataFusion or Arrow.
    DataFusion,
}

impl Error {
    /// What the error is about.
    ///
    /// ```
    /// use datafusion_kafka::{ErrorKind, Options};
    ///
    /// let error = Options::new().with_option("kafka.mode", "both").validate().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Configuration);
    /// assert!(!error.is_retriable());
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::UnknownOption { .. }
            | Error::InvalidOption { .. }
            | Error::ConflictingOptions { .. }
            | Error::ReadFile { .. }
            | Error::CreateClient { .. }
            | Error::AmbiguousPattern { .. }
            | Error::InvalidPattern { .. }
            | Error::InvalidLocation { .. } => ErrorKind::Configuration,
            Error::InvalidColumn { .. }
            | Error::InferSchema { .. }
            | Error::UnknownColumn { .. }
            | Error::TextArgument { .. } => ErrorKind::Schema,
            Error::Connect { .. }
            | Error::ListTopics { .. }
            | Error::CreateTopic { .. }
            | Error::Request { .. }
            | Error::Fetch { .. }
            | Error::NotYetThere { .. } => ErrorKind::Connection,
            Error::Login { .. } | Error::Denied { .. } => ErrorKind::Access,
            Error::TopicNotFound { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::LostOffsets { .. } => ErrorKind::NotFound,
            Error::NullKey { .. }
            | Error::UnexpectedKey { .. }
            | Error::KeyInTwoPartitions { .. }
            | Error::DecodeKey { .. }
            | Error::DecodePayload { .. }
            | Error::Codec { .. }
            | Error::EncodeRow { .. }
            | Error::InvalidRow { .. }
            | Error::DuplicateKey { .. } => ErrorKind::Data,
            Error::Produce { .. }
            | Error::BeginTransaction { .. }
            | Error::TransactionFailed { .. }
            | Error::CommitUnknown { .. } => ErrorKind::Write,
            Error::Fenced { .. } | Error::Stalled { .. } | Error::ContinuousQuery { .. } => {
                ErrorKind::ContinuousQuery
            }
            Error::Unsupported(_) => ErrorKind::Unsupported,
            Error::DataFusion(_) => ErrorKind::DataFusion,
        }
    }

    /// The code with which a broker has refused the request, where that is what failed.
    ///
    /// `None` where no broker has answered with a code: time-outs, connections that do not come
    /// about, refused logins, and everything that was wrong before a broker was asked.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Denied { code, .. }
            | Error::Fetch {
                reason: FetchFailure::Refused { code, .. },
                ..
            } => Some(*code),
            Error::TopicNotFound { .. }
            | Error::Fetch {
                reason: FetchFailure::Deleted,
                ..
            } => Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Error::ListTopics { code, .. }
            | Error::CreateTopic { code, .. }
            | Error::Request { code, .. }
            | Error::Produce { code, .. }
            | Error::BeginTransaction { code, .. }
            | Error::TransactionFailed { code, .. }
            | Error::CommitUnknown { code, .. } => *code,
            _ => None,
        }
    }

    /// Whether the same work may succeed later although nobody changes anything: brokers that
    /// were away come back.
    ///
    /// To repeat a statement may write its records twice. Without a transaction, those that were
    /// acknowledged before it failed are in the topic. After [`Error::CommitUnknown`], all of
    /// them may be.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Fetch { reason, .. } => *reason != FetchFailure::Recreated,
            _ if self.refused_row().is_some() => false,
            Error::Connect { .. }
            | Error::Request { .. }
            | Error::Produce { .. }
            | Error::BeginTransaction { .. }
            | Error::TransactionFailed { .. }
            | Error::CommitUnknown { .. }
            | Error::Stalled { .. } => true,
            _ => false,
        }
    }

    /// The number of the row whose record the brokers will not take, where that is what
    /// failed.
    pub(crate) fn refused_row(&self) -> Option<u64> {
        match self {
            Error::Produce {
                row, refused: true, ..
            } => Some(*row),
            Error::TransactionFailed { refused_row, .. } => *refused_row,
            _ => None,
        }
    }
}
