//! A format of your own: rows in an envelope that states their type and version.
//!
//! `cargo run --example envelope` needs no broker.

#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryViewArray, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::json::{DecodeOptions, EncodeOptions, RowDecoder, RowEncoder};
use datafusion_kafka::{Codec, CodecError, KafkaConfig, KafkaTable, register_kafka};

mod support;
use support::{Kafka, Result, show};

/// `{"type":"order","version":1,"data":{ .. the row .. }}`
#[derive(Debug)]
struct Envelope {
    name: &'static str,
}

impl Envelope {
    fn fields(columns: &Fields) -> Fields {
        Fields::from(vec![
            Field::new("type", DataType::Utf8, true),
            Field::new("version", DataType::Int64, true),
            Field::new("data", DataType::Struct(columns.clone()), true),
        ])
    }
}

impl Codec for Envelope {
    fn decode(
        &self,
        bytes: &BinaryViewArray,
        columns: &Fields,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let other = |error: &dyn std::error::Error| CodecError::new(error.to_string());
        let envelope = Self::fields(columns);
        let mut decoder = RowDecoder::try_new(&envelope, &DecodeOptions::default())
            .map_err(|error| other(&error))?;
        for (row, bytes) in bytes.iter().enumerate() {
            match bytes {
                None => decoder.append_null(),
                Some(bytes) => decoder
                    .append(bytes)
                    .map_err(|error| CodecError::at(row, error.to_string()))?,
            }
        }
        let envelope = decoder.finish().map_err(|error| other(&error))?;
        for (row, name) in envelope[0].as_string::<i32>().iter().enumerate() {
            if name.is_some_and(|name| name != self.name) {
                return Err(CodecError::at(row, "the envelope holds something else"));
            }
        }
        Ok(envelope[2].as_struct().columns().to_vec())
    }

    fn encode(&self, columns: &[ArrayRef], fields: &Fields) -> Result<BinaryViewArray, CodecError> {
        let other = |error: &dyn std::error::Error| CodecError::new(error.to_string());
        let rows = columns[0].len();
        let data = StructArray::new(fields.clone(), columns.to_vec(), None);
        let envelope: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![self.name; rows])),
            Arc::new(Int64Array::from(vec![1; rows])),
            Arc::new(data),
        ];
        let encoder = RowEncoder::try_new(&Self::fields(fields), &EncodeOptions::default())
            .map_err(|error| other(&error))?;
        let writer = encoder.batch(&envelope).map_err(|error| other(&error))?;
        let payloads = (0..rows).map(|row| {
            let mut payload = Vec::new();
            writer
                .write(row, &mut payload)
                .map_err(|error| CodecError::at(row, error.to_string()))?;
            Ok(payload)
        });
        Ok(payloads
            .collect::<Result<Vec<_>, _>>()?
            .iter()
            .map(Some)
            .collect())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    let topic = kafka.create_topic("enveloped", 2).await?;
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new())?;
    let orders = KafkaTable::builder(&topic)
        .with_schema(Schema::new(vec![
            Field::new("customer", DataType::Utf8, true),
            Field::new("amount", DataType::Int64, true),
        ]))
        .with_option("kafka.bootstrap.servers", kafka.servers())
        .with_value_codec(Arc::new(Envelope { name: "order" }))
        .build()
        .await?;
    ctx.register_table("orders", Arc::new(orders))?;
    let raw = KafkaTable::builder(&topic)
        .with_option("kafka.bootstrap.servers", kafka.servers())
        .with_option("kafka.value.format", "string")
        .with_schema(Schema::empty())
        .build()
        .await?;
    ctx.register_table("raw", Arc::new(raw))?;

    show(
        &ctx,
        "INSERT INTO orders VALUES ('o-1', 'Ada', 10), ('o-2', 'Bob', 20)",
    )
    .await?;
    show(
        &ctx,
        "UPDATE orders SET amount = amount + 1 WHERE customer = 'Ada'",
    )
    .await?;
    show(&ctx, "SELECT * FROM orders ORDER BY _key").await?;
    show(&ctx, "SELECT * FROM raw ORDER BY _key").await?;
    Ok(())
}
