//! Numbers are exact or refused.

use arrow::array::{AsArray, Decimal128Array, Int64Array, UInt64Array};
use arrow::datatypes::*;

use super::*;

fn int<T: ArrowPrimitiveType>(json: &str) -> Result<T::Native, &'static str> {
    match decode(&T::DATA_TYPE, json) {
        Ok(array) => Ok(array.as_primitive::<T>().value(0)),
        error => Err(found(error)),
    }
}

#[test]
fn integers_are_accepted_however_they_are_written() {
    for (json, value) in [
        ("3", 3),
        ("3.0", 3),
        ("3e2", 300),
        ("3E+2", 300),
        ("30e-1", 3),
        ("0.3e1", 3),
        ("-0", 0),
        ("-0.0", 0),
        ("-7.000", -7),
        ("0e999999999", 0),
        ("0.0e-999999999999999999999999", 0),
        ("0e99999999999999999999999999", 0),
        ("100000000000000000000e-20", 1),
        ("0.00000000000000000001e20", 1),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("9223372036854775807.0", i64::MAX),
        ("922337203685477580.7e1", i64::MAX),
    ] {
        assert_eq!(int::<Int64Type>(json), Ok(value), "{json}");
    }
    assert_eq!(int::<UInt64Type>("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(int::<UInt64Type>("-0"), Ok(0));
    assert_eq!(int::<Int8Type>("-128"), Ok(i8::MIN));
}

#[test]
fn numbers_that_are_no_integers_of_the_type_are_refused() {
    for json in [
        "1.9",
        "1e-1",
        "1e-999999999",
        "-0.5",
        "10000000000000000000000.5",
    ] {
        assert_eq!(int::<Int64Type>(json), Err("a fractional number"), "{json}");
    }
    for json in [
        "9223372036854775808",
        "-9223372036854775809",
        "1e999999999",
        "1e99999999999999999999",
        "-1e19",
    ] {
        assert_eq!(
            int::<Int64Type>(json),
            Err("a number out of range"),
            "{json}"
        );
    }
    assert_eq!(
        int::<UInt64Type>("18446744073709551616"),
        Err("a number out of range")
    );
    assert_eq!(int::<UInt8Type>("-1"), Err("a number out of range"));
    assert_eq!(int::<UInt8Type>("256"), Err("a number out of range"));
    assert_eq!(int::<Int8Type>("128"), Err("a number out of range"));
    for (json, what) in [
        ("true", "a boolean"),
        ("\"3\"", "a string"),
        ("[]", "an array"),
        ("{}", "an object"),
    ] {
        assert_eq!(int::<Int32Type>(json), Err(what));
    }
}

#[test]
fn long_numbers_neither_hang_nor_overflow() {
    let zeros = "0".repeat(200_000);
    assert_eq!(int::<Int64Type>(&format!("1.{zeros}")), Ok(1));
    assert_eq!(
        int::<Int64Type>(&format!("1{zeros}")),
        Err("a number out of range")
    );
    assert_eq!(int::<Int64Type>(&format!("1{zeros}e-200000")), Ok(1));
    assert_eq!(
        int::<Int64Type>(&format!("0.{zeros}1")),
        Err("a fractional number")
    );
    assert_eq!(int::<Int64Type>(&format!("0.{zeros}1e200001")), Ok(1));
    assert_eq!(int::<Float64Type>(&format!("0.{zeros}1")), Ok(0.0));
    assert_eq!(int::<Int64Type>(&format!("1e{zeros}")), Ok(1));
}

#[test]
fn floats_are_rounded_correctly_and_never_overflow() {
    assert_eq!(int::<Float64Type>("0.1"), Ok(0.1));
    assert_eq!(
        int::<Float64Type>("123456789012345678"),
        Ok(123456789012345678.0)
    );
    assert_eq!(int::<Float64Type>("5e-324"), Ok(5e-324));
    assert_eq!(int::<Float32Type>("16777217"), Ok(16777216.0));
    assert_eq!(int::<Float64Type>("1e400"), Err("a number out of range"));
    assert_eq!(int::<Float32Type>("1e39"), Err("a number out of range"));
    assert_eq!(int::<Float16Type>("70000"), Err("a number out of range"));
    assert!(int::<Float64Type>("-0.0").unwrap().is_sign_negative());
    assert!(int::<Float64Type>("\"NaN\"").unwrap().is_nan());
    assert_eq!(int::<Float32Type>("\"Infinity\""), Ok(f32::INFINITY));
    assert_eq!(int::<Float64Type>("\"-Infinity\""), Ok(f64::NEG_INFINITY));
    assert_eq!(
        int::<Float64Type>("\"inf\""),
        Err("a string that is not a number")
    );
    assert_eq!(int::<Float64Type>("\"1\""), Err("a string"));
}

#[test]
fn decimals_keep_every_digit() {
    let decimal = DataType::Decimal128(10, 2);
    for (json, written) in [
        ("1.5", "1.50"),
        ("\"1.5\"", "1.50"),
        ("-0.01", "-0.01"),
        ("1.500000", "1.50"),
        ("150e-2", "1.50"),
        ("12345678.90", "12345678.90"),
        ("-99999999.99", "-99999999.99"),
        ("0", "0.00"),
    ] {
        assert_eq!(normal(&decimal, json), written, "{json}");
    }
    for (json, what) in [
        ("1.234", "more decimal places than its scale"),
        ("100000000", "a number out of range"),
        ("1e300", "a number out of range"),
        ("\"abc\"", "a string that is not a number"),
        ("\" 1\"", "a string that is not a number"),
        ("\"\"", "a string that is not a number"),
        ("true", "a boolean"),
    ] {
        assert_eq!(found(decode(&decimal, json)), what, "{json}");
    }
    let most = "9".repeat(76);
    assert_eq!(normal(&DataType::Decimal256(76, 0), &most), most);
    assert_eq!(
        normal(&DataType::Decimal256(76, 76), &format!("-0.{most}")),
        format!("-0.{most}")
    );
    assert_eq!(
        normal(&DataType::Decimal128(38, 0), &most[..38]),
        &most[..38]
    );
    assert!(decode(&DataType::Decimal128(38, 0), &most[..39]).is_err());
    assert_eq!(
        normal(&DataType::Decimal32(9, 9), "0.000000001"),
        "0.000000001"
    );
    assert_eq!(normal(&DataType::Decimal64(18, -3), "1.2e4"), "12000");
    assert_eq!(normal(&DataType::Decimal64(18, -3), "0"), "0");
    assert!(decode(&DataType::Decimal64(18, -3), "12001").is_err());
}

#[test]
fn coercion_accepts_what_strings_hold() {
    let coerce = DecodeOptions {
        coerce: true,
        ..DecodeOptions::default()
    };
    let read = |data_type, json| decode_with(&data_type, &coerce, json);
    assert_eq!(encode(&read(DataType::Int32, "\"42\"").unwrap()), "42");
    assert_eq!(encode(&read(DataType::Int32, "\"4.2e1\"").unwrap()), "42");
    assert_eq!(encode(&read(DataType::Float64, "\"4.5\"").unwrap()), "4.5");
    assert_eq!(
        encode(&read(DataType::Boolean, "\"true\"").unwrap()),
        "true"
    );
    for json in [
        "\"\"", "\"x\"", "\" 1\"", "\"1 \"", "\"0x1\"", "\"+1\"", "\"1_0\"",
    ] {
        assert_eq!(
            found(read(DataType::Int32, json)),
            "a string that is not a number"
        );
        assert_eq!(
            found(read(DataType::Float32, json)),
            "a string that is not a number"
        );
    }
    assert!(read(DataType::Boolean, "\"TRUE\"").is_err());
    assert!(read(DataType::Boolean, "1").is_err());
}

#[test]
fn integers_of_every_length_are_written() {
    let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
    let around = powers.flat_map(|power| [power - 1, power, power + 1]);
    for value in around.chain([u64::MAX, 12_345_678, 1_234_567_890_123_456_789]) {
        let array: ArrayRef = Arc::new(UInt64Array::from(vec![value]));
        assert_eq!(encode(&array), value.to_string());
        let Ok(value) = i64::try_from(value) else {
            continue;
        };
        for value in [value, -value] {
            let array: ArrayRef = Arc::new(Int64Array::from(vec![value]));
            assert_eq!(encode(&array), value.to_string());
            let scaled = |scale| {
                let array = Decimal128Array::from(vec![i128::from(value)]);
                encode(&(Arc::new(array.with_precision_and_scale(38, scale).unwrap()) as ArrayRef))
            };
            let digits = format!("{:020}", value.unsigned_abs());
            let sign = if value < 0 { "-" } else { "" };
            for scale in [1, 2, 8, 9, 18] {
                let (whole, fraction) = digits.split_at(20 - scale);
                let whole: u64 = whole.parse().unwrap();
                assert_eq!(scaled(scale as i8), format!("{sign}{whole}.{fraction}"));
            }
        }
    }
}
