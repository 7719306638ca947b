//! Every type, written and read back.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, StructArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTable;

use crate::broker;
use crate::session::{count, rows};

/// For each type that JSON can carry, a column of three rows, the last of which is NULL.
fn every_type() -> RecordBatch {
    use DataType as T;
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(86), None]));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(86), None]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(-0.25), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        Some("\u{e9} \"\\\n"),
        None,
    ]));
    let four: ArrayRef = Arc::new(StringArray::from(vec![
        Some("abcd"),
        Some("\u{1}\u{2}\u{3}\u{4}"),
        None,
    ]));
    let utc: Arc<str> = "UTC".into();
    let zone: Arc<str> = "+02:30".into();
    let mut columns: Vec<(DataType, ArrayRef)> = Vec::new();
    let mut add = |from: &ArrayRef, data_type: DataType| {
        let array = cast(from, &data_type).unwrap();
        columns.push((data_type, array));
    };
    for integer in [
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
    ] {
        add(&integers, integer);
    }
    for float in [T::Float16, T::Float32, T::Float64] {
        add(&floats, float);
    }
    for decimal in [
        T::Decimal32(9, 2),
        T::Decimal64(18, 2),
        T::Decimal128(38, 2),
        T::Decimal256(76, 2),
    ] {
        add(&floats, decimal);
    }
    add(&integers, T::Boolean);
    let dictionary = T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8));
    for text in [
        T::Utf8,
        T::LargeUtf8,
        T::Utf8View,
        dictionary,
        T::Binary,
        T::LargeBinary,
        T::BinaryView,
    ] {
        add(&texts, text);
    }
    add(&cast(&four, &T::Binary).unwrap(), T::FixedSizeBinary(4));
    add(&small, T::Date32);
    add(
        &cast(&cast(&small, &T::Date32).unwrap(), &T::Date64).unwrap(),
        T::Date64,
    );
    for time in [
        T::Time32(TimeUnit::Second),
        T::Time32(TimeUnit::Millisecond),
    ] {
        add(&small, time);
    }
    for time in [
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
    ] {
        add(&integers, time);
    }
    for unit in [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ] {
        add(&integers, T::Timestamp(unit, None));
        add(&integers, T::Timestamp(unit, Some(Arc::clone(&utc))));
        add(&integers, T::Timestamp(unit, Some(Arc::clone(&zone))));
        add(&integers, T::Duration(unit));
    }
    let spans: ArrayRef = Arc::new(StringArray::from(vec![
        Some("1 year 2 months"),
        Some("3 months"),
        None,
    ]));
    add(&spans, T::Interval(IntervalUnit::YearMonth));
    let spans: ArrayRef = Arc::new(StringArray::from(vec![
        Some("1 month 2 days 3.5 seconds"),
        Some("-4 hours"),
        None,
    ]));
    add(&spans, T::Interval(IntervalUnit::MonthDayNano));
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    add(&integers, T::List(item(T::Int16)));
    add(&texts, T::LargeList(item(T::Utf8)));
    add(&integers, T::FixedSizeList(item(T::Int32), 1));

    let inner = Fields::from(vec![
        Field::new("x", T::Int64, true),
        Field::new("list", T::List(item(T::Utf8)), true),
    ]);
    let list = cast(&texts, inner[1].data_type()).unwrap();
    let nulls = arrow::buffer::NullBuffer::from(vec![true, true, false]);
    let nested = StructArray::new(
        inner.clone(),
        vec![Arc::clone(&integers), list],
        Some(nulls),
    );
    columns.push((T::Struct(inner), Arc::new(nested)));
    let mut map = arrow::array::MapBuilder::new(
        None,
        arrow::array::StringBuilder::new(),
        arrow::array::Int64Builder::new(),
    );
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.keys().append_value("l");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let map: ArrayRef = Arc::new(map.finish());
    columns.push((map.data_type().clone(), map));

    let mut fields = vec![Field::new("_key", T::Utf8, false)];
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let mut arrays = vec![keys];
    for (index, (data_type, array)) in columns.into_iter().enumerate() {
        fields.push(Field::new(format!("c{index}"), data_type, true));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

#[tokio::test]
async fn what_is_inserted_is_selected_whatever_the_type() {
    let Some(broker) = broker::required("what_is_inserted_is_selected") else {
        return;
    };
    let batch = every_type();
    let schema = batch.schema();
    for options in [
        &[][..],
        &[
            ("kafka.json.nulls", "omit"),
            ("kafka.json.decimals", "string"),
        ],
    ] {
        let topic = broker.new_topic("types", 2, &[]);
        let mut table = KafkaTable::builder(&topic)
            .with_schema(Arc::clone(&schema))
            .with_option("kafka.bootstrap.servers", &broker.servers);
        for (key, value) in options {
            table = table.with_option(*key, *value);
        }
        let ctx = SessionContext::new();
        let table = table.build().await.unwrap();
        ctx.register_table("t", Arc::new(table)).unwrap();
        ctx.register_batch("given", batch.clone()).unwrap();
        assert_eq!(count(&ctx, "INSERT INTO t SELECT * FROM given").await, 3);
        let back = rows(&ctx, "SELECT * FROM t ORDER BY _key").await;
        let back = concat_batches(&schema, &back).unwrap();
        for (index, field) in schema.fields().iter().enumerate() {
            assert_eq!(back.column(index), batch.column(index), "{field:?}");
        }
    }
}
