//! Whatever is written is read back equal.

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use proptest::prelude::*;
use proptest::test_runner::TestRng;

use super::*;

fn scalar_type() -> impl Strategy<Value = DataType> {
    use DataType::*;
    let units = || {
        prop::sample::select(vec![
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        ])
    };
    let zones = prop::sample::select(vec![
        None,
        Some("UTC"),
        Some("+05:30"),
        Some("-11"),
        Some("Europe/Amsterdam"),
        Some("America/New_York"),
        Some("Mars/Base"),
    ]);
    let plain = prop::sample::select(vec![
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
    ]);
    let decimal = |max: u8, build: fn(u8, i8) -> DataType| {
        (1..=max).prop_flat_map(move |precision| {
            (-20..=precision as i8).prop_map(move |scale| build(precision, scale))
        })
    };
    prop_oneof![
        28 => plain,
        1 => decimal(9, Decimal32),
        1 => decimal(18, Decimal64),
        2 => decimal(38, Decimal128),
        1 => decimal(76, Decimal256),
        4 => (units(), zones).prop_map(|(unit, zone)| Timestamp(unit, zone.map(Into::into))),
        2 => units().prop_map(Duration),
        1 => (0..5).prop_map(FixedSizeBinary),
    ]
}

fn data_type() -> impl Strategy<Value = DataType> {
    let keys = prop::sample::select(vec![
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
    ]);
    let dictionary = (keys, scalar_type())
        .prop_filter("supported", |(_, value)| {
            !matches!(value, DataType::Null | DataType::FixedSizeBinary(0))
        })
        .prop_map(|(key, value)| DataType::Dictionary(Box::new(key), Box::new(value)));
    let leaf = prop_oneof![5 => scalar_type(), 1 => dictionary];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let item = (inner.clone(), any::<bool>())
            .prop_map(|(data_type, nullable)| Arc::new(new_field("item", data_type, nullable)));
        let strings = prop::sample::select(vec![
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Utf8View,
        ]);
        prop_oneof![
            fields(inner.clone()).prop_map(DataType::Struct),
            item.clone().prop_map(DataType::List),
            item.clone().prop_map(DataType::LargeList),
            (item, 0..3).prop_map(|(item, size)| DataType::FixedSizeList(item, size)),
            (strings, inner, any::<bool>()).prop_map(|(key, value, nullable)| {
                let fields = vec![
                    Field::new("key", key, false),
                    new_field("value", value, nullable),
                ];
                let entries = Field::new("entries", DataType::Struct(fields.into()), false);
                DataType::Map(Arc::new(entries), false)
            }),
        ]
    })
}

/// Nothing but NULL is in a column of nulls.
fn new_field(name: impl Into<String>, data_type: DataType, nullable: bool) -> Field {
    let nullable = nullable || data_type == DataType::Null;
    Field::new(name, data_type, nullable)
}

/// The field in one of the forms that JSON has for its type, or without a mark.
fn marked(field: Field, form: usize) -> Field {
    let encodings = [
        TextEncoding::Json,
        TextEncoding::Base64,
        TextEncoding::Hex,
        TextEncoding::Base64Decimal,
    ];
    let data_type = field.data_type();
    // Random text is not JSON.
    let is_text = data_type.is_string();
    match encodings.get(form) {
        Some(encoding) if encoding.applies_to(data_type) && !is_text => encoding.mark(field),
        Some(_) => field,
        None if form < 6 => with_days(&field),
        None => field,
    }
}

fn fields(inner: impl Strategy<Value = DataType>) -> impl Strategy<Value = Fields> {
    let names = prop::sample::select(vec!["a", "Name", "größe", "with \"quotes\"\n", "", "_key"]);
    prop::collection::vec((inner, any::<bool>(), names, 0..8_usize), 0..4).prop_map(|fields| {
        let field = |(index, (data_type, nullable, name, form))| {
            marked(
                new_field(format!("{name}{index}"), data_type, nullable),
                form,
            )
        };
        fields.into_iter().enumerate().map(field).collect()
    })
}

/// An array of random values, many of them at the edges of their type.
fn array(field: &Field, len: usize, rng: &mut TestRng) -> ArrayRef {
    let nullable = field.is_nullable();
    let nulls = |rng: &mut TestRng| {
        let valid: Vec<bool> = (0..len)
            .map(|_| !nullable || !rng.random_ratio(1, 4))
            .collect();
        nullable.then(|| NullBuffer::from(valid))
    };
    let valid = nulls(rng);
    let ends = |rng: &mut TestRng, max: usize| {
        OffsetBuffer::<i32>::from_lengths((0..len).map(|_| rng.random_range(0..=max)))
    };
    macro_rules! numbers {
        ($type:ty, $random:expr) => {{
            let values: Vec<<$type as ArrowPrimitiveType>::Native> =
                (0..len).map(|_| $random).collect();
            let array = PrimitiveArray::<$type>::new(values.into(), valid);
            Arc::new(array.with_data_type(field.data_type().clone())) as ArrayRef
        }};
    }
    macro_rules! integers {
        ($type:ty) => {
            numbers!($type, edge(rng) as <$type as ArrowPrimitiveType>::Native)
        };
    }
    macro_rules! decimals {
        ($type:ty, $precision:expr) => {
            numbers!($type, {
                let digits: String = (0..rng.random_range(1..=$precision))
                    .map(|_| char::from(b"0123456789999"[rng.random_range(0..13)]))
                    .collect();
                let sign = if rng.random() { "-" } else { "" };
                format!("{sign}{digits}").parse().unwrap()
            })
        };
    }
    match field.data_type() {
        DataType::Null => Arc::new(NullArray::new(len)),
        DataType::Boolean => {
            let values: Vec<bool> = (0..len).map(|_| rng.random()).collect();
            Arc::new(BooleanArray::new(values.into(), valid))
        }
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::UInt64 => integers!(UInt64Type),
        DataType::Float16 => numbers!(Float16Type, {
            let value = half::f16::from_bits(rng.random());
            if value.is_nan() {
                half::f16::NAN
            } else {
                value
            }
        }),
        DataType::Float32 => numbers!(Float32Type, {
            let value = f32::from_bits(rng.random());
            if value.is_nan() { f32::NAN } else { value }
        }),
        DataType::Float64 => numbers!(Float64Type, {
            let value = match rng.random_range(0..4) {
                0 => edge(rng) as f64,
                1 => -0.0,
                _ => f64::from_bits(rng.random()),
            };
            if value.is_nan() { f64::NAN } else { value }
        }),
        DataType::Decimal32(precision, _) => decimals!(Decimal32Type, *precision),
        DataType::Decimal64(precision, _) => decimals!(Decimal64Type, *precision),
        DataType::Decimal128(precision, _) => decimals!(Decimal128Type, *precision),
        DataType::Decimal256(precision, _) => numbers!(Decimal256Type, {
            let digits: String = (0..rng.random_range(1..=*precision))
                .map(|_| char::from(b"0123456789999"[rng.random_range(0..13)]))
                .collect();
            let sign = if rng.random() { "-" } else { "" };
            i256::from_string(&format!("{sign}{digits}")).unwrap()
        }),
        DataType::Date32 => integers!(Date32Type),
        DataType::Date64 => integers!(Date64Type),
        DataType::Time32(TimeUnit::Second) => {
            numbers!(Time32SecondType, rng.random_range(0..86_400))
        }
        DataType::Time32(_) => numbers!(Time32MillisecondType, rng.random_range(0..86_400_000)),
        DataType::Time64(TimeUnit::Microsecond) => {
            numbers!(Time64MicrosecondType, rng.random_range(0..86_400_000_000))
        }
        DataType::Time64(_) => numbers!(
            Time64NanosecondType,
            rng.random_range(0..86_400_000_000_000)
        ),
        DataType::Timestamp(TimeUnit::Second, _) => integers!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => integers!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integers!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => integers!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => integers!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => integers!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => integers!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => integers!(DurationNanosecondType),
        DataType::Interval(IntervalUnit::YearMonth) => integers!(IntervalYearMonthType),
        DataType::Interval(IntervalUnit::DayTime) => numbers!(
            IntervalDayTimeType,
            IntervalDayTime::new(edge(rng) as i32, edge(rng) as i32)
        ),
        DataType::Interval(IntervalUnit::MonthDayNano) => numbers!(
            IntervalMonthDayNanoType,
            IntervalMonthDayNano::new(edge(rng) as i32, edge(rng) as i32, edge(rng))
        ),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let values = (0..len).map(|row| {
                let valid = valid.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                let text = string(rng);
                valid.then_some(text)
            });
            cast(
                &(Arc::new(StringArray::from_iter(values)) as ArrayRef),
                field.data_type(),
            )
            .unwrap()
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let values = (0..len).map(|row| {
                let valid = valid.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                let size = rng.random_range(0..20);
                let bytes: Vec<u8> = (0..size).map(|_| rng.random()).collect();
                valid.then_some(bytes)
            });
            cast(
                &(Arc::new(BinaryArray::from_iter(values)) as ArrayRef),
                field.data_type(),
            )
            .unwrap()
        }
        DataType::FixedSizeBinary(size) => {
            let bytes: Vec<u8> = (0..len * *size as usize).map(|_| rng.random()).collect();
            let array = FixedSizeBinaryArray::try_new_with_len(*size, bytes.into(), valid, len);
            Arc::new(array.unwrap())
        }
        DataType::Struct(fields) => {
            let arrays = fields.iter().map(|field| array(field, len, rng)).collect();
            let array = StructArray::try_new_with_length(fields.clone(), arrays, valid, len);
            Arc::new(array.unwrap())
        }
        DataType::List(item) => {
            let ends = ends(rng, 3);
            let items = array(item, *ends.last().unwrap() as usize, rng);
            Arc::new(ListArray::new(Arc::clone(item), ends, items, valid))
        }
        DataType::LargeList(item) => {
            let ends = ends(rng, 3);
            let items = array(item, *ends.last().unwrap() as usize, rng);
            let ends = OffsetBuffer::from_lengths(ends.lengths());
            Arc::new(LargeListArray::new(Arc::clone(item), ends, items, valid))
        }
        DataType::FixedSizeList(item, size) => {
            let items = array(item, len * *size as usize, rng);
            let item = Arc::clone(item);
            let array = FixedSizeListArray::try_new_with_length(item, *size, items, valid, len);
            Arc::new(array.unwrap())
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                panic!()
            };
            let ends = ends(rng, 3);
            let count = *ends.last().unwrap() as usize;
            let keys = (0..count).map(|index| Some(format!("{}{index}", string(rng))));
            let keys: ArrayRef = Arc::new(StringArray::from_iter(keys));
            let keys = cast(&keys, fields[0].data_type()).unwrap();
            let values = array(&fields[1], count, rng);
            let structs = StructArray::new(fields.clone(), vec![keys, values], None);
            Arc::new(MapArray::new(
                Arc::clone(entries),
                ends,
                structs,
                valid,
                *sorted,
            ))
        }
        DataType::Dictionary(key, value) => {
            // Which of keys and values says NULL is not kept.
            let values = array(&Field::new("", (**value).clone(), false), 5, rng);
            macro_rules! dictionary {
                ($type:ty) => {{
                    let keys: Vec<_> = (0..len).map(|_| rng.random_range(0..5)).collect();
                    let keys = PrimitiveArray::<$type>::new(keys.into(), valid);
                    Arc::new(DictionaryArray::new(keys, values)) as ArrayRef
                }};
            }
            match **key {
                DataType::Int8 => dictionary!(Int8Type),
                DataType::Int16 => dictionary!(Int16Type),
                DataType::Int32 => dictionary!(Int32Type),
                DataType::Int64 => dictionary!(Int64Type),
                DataType::UInt8 => dictionary!(UInt8Type),
                DataType::UInt16 => dictionary!(UInt16Type),
                DataType::UInt32 => dictionary!(UInt32Type),
                _ => dictionary!(UInt64Type),
            }
        }
        other => panic!("{other}"),
    }
}

/// Near an edge of some width, or anywhere.
fn edge(rng: &mut TestRng) -> i64 {
    let value: i64 = rng.random();
    match rng.random_range(0..8) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => [i32::MIN, i32::MAX, 0, -1, 1][rng.random_range(0..5)].into(),
        3 => value >> 56,
        4 => (value >> 30) * 1000,
        5 => value >> 10,
        _ => value,
    }
}

fn string(rng: &mut TestRng) -> String {
    let chars: Vec<char> = "ab\"\\\n\u{0}\u{1f}\u{7f}é😀\u{2028}{}[]:, 1"
        .chars()
        .collect();
    let size = rng.random_range(0..20);
    (0..size)
        .map(|_| chars[rng.random_range(0..chars.len())])
        .collect()
}

fn check(fields: &Fields, rows: usize, rng: &mut TestRng) {
    let columns: Vec<ArrayRef> = fields.iter().map(|field| array(field, rows, rng)).collect();
    let options = EncodeOptions {
        nulls: if rng.random() {
            Nulls::Write
        } else {
            Nulls::Omit
        },
        decimals: if rng.random() {
            Decimals::Number
        } else {
            Decimals::String
        },
        non_finite: NonFinite::String,
        // Of which no date or time has parts.
        timestamp_unit: rng.random::<bool>().then_some(TimeUnit::Nanosecond),
    };
    let reading = DecodeOptions {
        timestamp_unit: options.timestamp_unit,
        ..DecodeOptions::default()
    };
    let encoder = RowEncoder::try_new(fields, &options).unwrap();
    let writer = encoder.batch(&columns).unwrap();
    let mut decoder = RowDecoder::try_new(fields, &reading).unwrap();
    let mut payload = Vec::new();
    for size in [rows, 1] {
        for start in (0..rows).step_by(size.max(1)) {
            for row in start..start + size {
                payload.clear();
                writer.write(row, &mut payload).unwrap();
                let parsed = serde_json::from_slice::<serde_json::Value>(&payload).unwrap();
                assert!(parsed.is_object());
                decoder.append(&payload).unwrap_or_else(|error| {
                    panic!("{error}: {}", String::from_utf8_lossy(&payload))
                });
            }
            let read = decoder.finish().unwrap();
            for (read, written) in read.iter().zip(&columns) {
                assert_eq!(read.data_type(), written.data_type());
                read.to_data().validate_full().unwrap();
                let written = written.slice(start, size);
                assert_eq!(
                    &read.to_data(),
                    &written.to_data(),
                    "{}",
                    String::from_utf8_lossy(&payload)
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nested_rows_are_read_back_equal(fields in fields(data_type()), rows in 0_usize..12, mut rng in rng()) {
        check(&fields, rows, &mut rng);
    }

    #[test]
    fn scalars_are_read_back_equal(data_type in scalar_type(), mut rng in rng()) {
        check(&Fields::from(vec![new_field("v", data_type, true)]), 20, &mut rng);
    }
}

fn rng() -> impl Strategy<Value = TestRng> {
    Just(()).prop_perturb(|(), rng| rng)
}
