//! [`Codec`]: user-defined formats of keys and payloads.

use std::fmt;

use arrow::array::{Array, ArrayRef, BinaryViewArray};
use arrow::datatypes::Fields;

/// A user-defined format of record keys or payloads. It replaces the formats that
/// `kafka.key.format` and `kafka.value.format` name.
///
/// A codec is given to [`KafkaTableBuilder::with_key_codec`] or
/// [`with_value_codec`](crate::KafkaTableBuilder::with_value_codec), or to the settings of a
/// pattern. A key codec has one column, `_key`. A value codec has the table's payload columns:
/// all that are not `_key` or metadata. The columns must be declared, and may have any type.
///
/// Both methods work on whole batches. They are called on threads where they may compute but
/// should not wait.
///
/// [`KafkaTableBuilder::with_key_codec`]: crate::KafkaTableBuilder::with_key_codec
///
/// # Example
/// Payloads that are a version byte and text:
/// ```
/// use std::sync::Arc;
/// use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, StringArray};
/// use arrow::datatypes::{DataType, Field, Fields, Schema};
/// use datafusion::prelude::SessionContext;
/// use datafusion_kafka::{Codec, CodecError, EmbeddedKafka, KafkaTable};
///
/// #[derive(Debug)]
/// struct Versioned;
///
/// impl Codec for Versioned {
///     fn decode(&self, bytes: &BinaryViewArray, _: &Fields) -> Result<Vec<ArrayRef>, CodecError> {
///         let mut texts = Vec::with_capacity(bytes.len());
///         for (row, bytes) in bytes.iter().enumerate() {
///             texts.push(match bytes {
///                 None => None, // a tombstone
///                 Some([1, text @ ..]) => Some(
///                     std::str::from_utf8(text).map_err(|e| CodecError::at(row, e.to_string()))?,
///                 ),
///                 Some(_) => return Err(CodecError::at(row, "not version 1")),
///             });
///         }
///         Ok(vec![Arc::new(StringArray::from(texts))])
///     }
///
///     fn encode(&self, columns: &[ArrayRef], _: &Fields) -> Result<BinaryViewArray, CodecError> {
///         let texts = columns[0].as_string::<i32>().iter();
///         Ok(texts.map(|text| Some([&[1], text?.as_bytes()].concat())).collect())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("texts", 1)?;
/// # let servers = kafka.bootstrap_servers();
/// let texts = KafkaTable::builder("texts")
///     .with_schema(Schema::new(vec![Field::new("text", DataType::Utf8, true)]))
///     .with_option("kafka.bootstrap.servers", servers)
///     .with_value_codec(Arc::new(Versioned))
///     .build()
///     .await?;
/// let ctx = SessionContext::new();
/// ctx.register_table("texts", Arc::new(texts))?;
/// ctx.sql("INSERT INTO texts VALUES ('k', 'hello')").await?.collect().await?;
/// let rows = ctx.sql("SELECT text FROM texts WHERE text = 'hello'").await?.count().await?;
/// assert_eq!(rows, 1);
/// # Ok(()) }
/// ```
pub trait Codec: fmt::Debug + Send + Sync {
    /// Decodes records, one row each, into these columns, in this order. They are the columns
    /// that a query reads, which need not be all columns of the table.
    ///
    /// Where there are no bytes (a tombstone, or a record without a key), the row is NULL in all
    /// columns.
    ///
    /// # Errors
    /// The first record that cannot be decoded. `kafka.on_bad_record` decides what happens then.
    /// Unless it is `fail`, records are decoded one by one, which is slower.
    fn decode(
        &self,
        bytes: &BinaryViewArray,
        columns: &Fields,
    ) -> Result<Vec<ArrayRef>, CodecError>;

    /// Encodes the rows of these columns, one value per row. A row without bytes is refused.
    ///
    /// # Errors
    /// The first row that cannot be encoded; the statement fails with it.
    fn encode(&self, columns: &[ArrayRef], fields: &Fields) -> Result<BinaryViewArray, CodecError>;
}

/// Why a [`Codec`] cannot decode or encode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodecError {
    /// The row of the batch that the error is about, if it is about one row.
    pub row: Option<usize>,
    /// What is wrong, without any content of the record.
    pub reason: String,
}

impl CodecError {
    /// An error about one row of the batch.
    pub fn at(row: usize, reason: impl Into<String>) -> Self {
        CodecError {
            row: Some(row),
            reason: reason.into(),
        }
    }

    /// An error about the batch as a whole.
    pub fn new(reason: impl Into<String>) -> Self {
        CodecError {
            row: None,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for CodecError {}

/// Decodes, and checks the result.
pub(crate) fn decode(
    codec: &dyn Codec,
    bytes: &BinaryViewArray,
    columns: &Fields,
) -> Result<Vec<ArrayRef>, CodecError> {
    let arrays = codec.decode(bytes, columns)?;
    if arrays.len() != columns.len() {
        let (given, wanted) = (arrays.len(), columns.len());
        return Err(CodecError::new(format!(
            "the codec returned {given} columns instead of {wanted}"
        )));
    }
    for (array, field) in arrays.iter().zip(columns) {
        if array.data_type() != field.data_type() || array.len() != bytes.len() {
            return Err(CodecError::new(format!(
                "the codec returned {} values of {} for the column `{}` instead of {} of {}",
                array.len(),
                array.data_type(),
                field.name(),
                bytes.len(),
                field.data_type()
            )));
        }
        if field.is_nullable() {
            continue;
        }
        if let Some(row) = (0..bytes.len()).find(|row| array.is_null(*row) && bytes.is_valid(*row))
        {
            let reason = format!(
                "the column `{}` is NULL, but declared NOT NULL",
                field.name()
            );
            return Err(CodecError::at(row, reason));
        }
    }
    Ok(arrays)
}

/// Encodes, and checks the result.
pub(crate) fn encode(
    codec: &dyn Codec,
    columns: &[ArrayRef],
    fields: &Fields,
    rows: usize,
) -> Result<BinaryViewArray, CodecError> {
    let bytes = codec.encode(columns, fields)?;
    if bytes.len() != rows {
        let given = bytes.len();
        return Err(CodecError::new(format!(
            "the codec returned {given} values instead of {rows}"
        )));
    }
    Ok(bytes)
}
