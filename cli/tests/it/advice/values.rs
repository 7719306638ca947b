//! Values that do not fit their columns.

use datafusion::prelude::SessionContext;
use datafusion_kafka::EmbeddedKafka;

use super::{LENIENT, NONE, NULL, TEXT, answer, declare, session};

/// A value that does not fit its column, its error message, and the remedies.
struct Case {
    /// The type and options of the table that rejects the value.
    declared: (&'static str, &'static str),
    json: &'static str,
    /// The rest of the message, after `expected .. but found`.
    said: &'static str,
    /// Each remedy: a type, options, a query, and its answer.
    followed: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

const COERCE: &str = "'kafka.json.coerce' 'true'";
const MS: &str = "'kafka.json.timestamp_unit' 'ms'";
const S: &str = "'kafka.json.timestamp_unit' 's'";

const CASES: &[Case] = &[
    // Objects and arrays.
    Case {
        declared: ("INT", NONE),
        json: r#"{"$numberLong":"77"}"#,
        said: "an object in `v`; declare STRUCT<..> for its properties, or VARCHAR for its JSON text",
        followed: &[
            (
                r#"STRUCT<"$numberLong" VARCHAR>"#,
                NONE,
                "CAST(v['$numberLong'] AS INT)",
                "77",
            ),
            ("VARCHAR", NONE, "v", r#"{"$numberLong":"77"}"#),
        ],
    },
    Case {
        declared: ("INT[]", NONE),
        json: r#"{"a":1}"#,
        said: "an object in `v`; declare STRUCT<..> for its properties, or VARCHAR for its JSON text",
        followed: &[("STRUCT<a INT>", NONE, "v['a']", "1")],
    },
    Case {
        declared: ("DECIMAL(10, 2)", NONE),
        json: "[1, 2]",
        said: "an array in `v`; declare a list such as BIGINT[], or VARCHAR for its JSON text",
        followed: &[
            ("BIGINT[]", NONE, "v[2]", "2"),
            ("VARCHAR", NONE, "v", "[1, 2]"),
        ],
    },
    Case {
        declared: ("STRUCT<a INT>", NONE),
        json: r#"[{"a":1},{"a":2}]"#,
        said: "an array in `v`; declare STRUCT<..>[], or VARCHAR for its JSON text",
        followed: &[
            ("STRUCT<a INT>[]", NONE, "v[2]['a']", "2"),
            ("VARCHAR", NONE, "v", r#"[{"a":1},{"a":2}]"#),
        ],
    },
    Case {
        declared: ("STRUCT<color VARCHAR>", NONE),
        json: r#""{\"color\":\"red\"}""#,
        said: "a string in `v`; declare VARCHAR for its text",
        followed: &[("VARCHAR", NONE, "v", r#"{"color":"red"}"#)],
    },
    Case {
        declared: ("STRUCT<a INT>", NONE),
        json: "7",
        said: "a number in `v`; declare VARCHAR, which takes values of every kind as text",
        followed: &[("VARCHAR", NONE, "v", "7")],
    },
    Case {
        declared: ("INT[]", NONE),
        json: r#"[1, "two"]"#,
        said: "a string that is not a number in `v[1]`; declare VARCHAR and use try_cast",
        followed: &[
            ("VARCHAR[]", NONE, "try_cast(v[1] AS INT)", "1"),
            ("VARCHAR[]", NONE, "try_cast(v[2] AS INT)", "NULL"),
        ],
    },
    Case {
        declared: ("INT[2]", NONE),
        json: "[1, 2, 3]",
        said: "an array of another length in `v`; declare a list of any length",
        followed: &[("INT[]", NONE, "v[3]", "3")],
    },
    // Numbers.
    Case {
        declared: ("INT", NONE),
        json: r#""42""#,
        said: "a string in `v`; set `kafka.json.coerce` = `true`, or declare VARCHAR and cast",
        followed: &[
            ("INT", COERCE, "v", "42"),
            ("VARCHAR", NONE, "CAST(v AS INT)", "42"),
        ],
    },
    Case {
        declared: ("DOUBLE", NONE),
        json: r#""1.5""#,
        said: "a string in `v`; set `kafka.json.coerce` = `true`, or declare VARCHAR and cast",
        followed: &[
            ("DOUBLE", COERCE, "v", "1.5"),
            ("VARCHAR", NONE, "CAST(v AS DOUBLE)", "1.5"),
        ],
    },
    Case {
        declared: ("DOUBLE", COERCE),
        json: r#""N/A""#,
        said: "a string that is not a number in `v`; declare VARCHAR and use try_cast",
        followed: &[("VARCHAR", NONE, "try_cast(v AS DOUBLE)", "NULL")],
    },
    Case {
        declared: ("BIGINT", NONE),
        json: "true",
        said: "a boolean in `v`; declare BOOLEAN and cast, or VARCHAR, which takes values of every kind as text",
        followed: &[
            ("BOOLEAN", NONE, "CAST(v AS BIGINT)", "1"),
            ("VARCHAR", NONE, "v", "true"),
        ],
    },
    Case {
        declared: ("DECIMAL(10, 2)", NONE),
        json: "true",
        said: "a boolean in `v`; declare BOOLEAN, or VARCHAR, which takes values of every kind as text",
        followed: &[
            ("BOOLEAN", NONE, "v", "true"),
            ("VARCHAR", NONE, "v", "true"),
        ],
    },
    Case {
        declared: ("INT", NONE),
        json: "1.5",
        said: "a fractional number in `v`; declare DOUBLE or DECIMAL, or VARCHAR and cast",
        followed: &[
            ("DOUBLE", NONE, "v", "1.5"),
            ("DECIMAL(10, 1)", NONE, "v", "1.5"),
            ("VARCHAR", NONE, "CAST(v AS DOUBLE)", "1.5"),
        ],
    },
    Case {
        declared: ("INT", NONE),
        json: "2147483648",
        said: "a number out of range in `v`; declare BIGINT or DECIMAL(38, 0), or VARCHAR for its text",
        followed: &[
            ("BIGINT", NONE, "v", "2147483648"),
            ("DECIMAL(38, 0)", NONE, "v", "2147483648"),
            ("VARCHAR", NONE, "v", "2147483648"),
        ],
    },
    Case {
        declared: ("INT UNSIGNED", NONE),
        json: "-1",
        said: "a number out of range in `v`; declare BIGINT or DECIMAL(38, 0), or VARCHAR for its text",
        followed: &[("BIGINT", NONE, "v", "-1")],
    },
    Case {
        declared: ("BIGINT", NONE),
        json: "9223372036854775808",
        said: "a number out of range in `v`; declare BIGINT UNSIGNED or DECIMAL(38, 0), or VARCHAR for its text",
        followed: &[
            ("BIGINT UNSIGNED", NONE, "v", "9223372036854775808"),
            ("DECIMAL(38, 0)", NONE, "v", "9223372036854775808"),
        ],
    },
    Case {
        declared: ("BIGINT UNSIGNED", NONE),
        json: "18446744073709551616",
        said: "a number out of range in `v`; declare DECIMAL(38, 0), or VARCHAR for its text",
        followed: &[("DECIMAL(38, 0)", NONE, "v", "18446744073709551616")],
    },
    Case {
        declared: ("REAL", NONE),
        json: "1e300",
        said: "a number out of range in `v`; declare DOUBLE, or VARCHAR for its text",
        followed: &[
            ("DOUBLE", NONE, "v", "1e300"),
            ("VARCHAR", NONE, "v", "1e300"),
        ],
    },
    Case {
        declared: ("DOUBLE", NONE),
        json: "1e400",
        said: "a number out of range in `v`; declare VARCHAR for its text",
        followed: &[("VARCHAR", NONE, "v", "1e400")],
    },
    Case {
        declared: ("DECIMAL(4, 2)", NONE),
        json: "12345.67",
        said: "a number out of range in `v`; declare more digits, up to DECIMAL(76, ..), or VARCHAR for its text",
        followed: &[
            ("DECIMAL(10, 2)", NONE, "v", "12345.67"),
            ("DECIMAL(76, 2)", NONE, "v", "12345.67"),
            ("VARCHAR", NONE, "v", "12345.67"),
        ],
    },
    Case {
        declared: ("DECIMAL(10, 2)", NONE),
        json: "1.005",
        said: "more decimal places than its scale in `v`; declare a larger scale, or VARCHAR and cast",
        followed: &[
            ("DECIMAL(10, 3)", NONE, "v", "1.005"),
            ("VARCHAR", NONE, "CAST(v AS DECIMAL(10, 2))", "1.01"),
        ],
    },
    Case {
        declared: ("DECIMAL(10, 2)", NONE),
        json: r#""B88=""#,
        said: "a string that is not a number in `v`; declare VARCHAR and use try_cast, or BYTEA for the bytes of base64",
        followed: &[
            ("VARCHAR", NONE, "try_cast(v AS DECIMAL(10, 2))", "NULL"),
            ("VARCHAR", NONE, "v", "B88="),
            ("BYTEA", NONE, "v", "07cf"),
        ],
    },
    Case {
        declared: ("BIGINT", LENIENT),
        json: "NaN",
        said: "NaN or an infinity in `v`; declare DOUBLE, or VARCHAR for its text",
        followed: &[
            ("DOUBLE", LENIENT, "v", "NaN"),
            ("VARCHAR", LENIENT, "v", "NaN"),
        ],
    },
    // Booleans.
    Case {
        declared: ("BOOLEAN", NONE),
        json: "1",
        said: "a number in `v`; declare BIGINT or DOUBLE and cast",
        followed: &[
            ("BIGINT", NONE, "CAST(v AS BOOLEAN)", "true"),
            ("DOUBLE", NONE, "CAST(v AS BOOLEAN)", "true"),
        ],
    },
    Case {
        declared: ("BOOLEAN", NONE),
        json: r#""true""#,
        said: "a string in `v`; set `kafka.json.coerce` = `true`, or declare VARCHAR and cast",
        followed: &[
            ("BOOLEAN", COERCE, "v", "true"),
            ("VARCHAR", NONE, "CAST(v AS BOOLEAN)", "true"),
        ],
    },
    Case {
        declared: ("BOOLEAN", NONE),
        json: r#""Y""#,
        said: "a string that is neither true nor false in `v`; declare VARCHAR and use try_cast",
        followed: &[("VARCHAR", NONE, "try_cast(v AS BOOLEAN)", "true")],
    },
    // Bytes.
    Case {
        declared: ("BYTEA", NONE),
        json: r#""0a-zz""#,
        said: "a string that is not base64 in `v`; declare VARCHAR and use decode(.., 'hex') where it is hexadecimal",
        followed: &[("VARCHAR", NONE, "v", "0a-zz")],
    },
    Case {
        declared: ("BYTEA", NONE),
        json: r#""0a0b0c""#,
        said: "a string that is not base64 in `v`; declare VARCHAR and use decode(.., 'hex') where it is hexadecimal",
        followed: &[("VARCHAR", NONE, "decode(v, 'hex')", "0a0b0c")],
    },
    Case {
        declared: ("BYTEA", NONE),
        json: "5",
        said: "a number in `v`; declare VARCHAR, which takes values of every kind as text",
        followed: &[("VARCHAR", NONE, "v", "5")],
    },
    // Dates.
    Case {
        declared: ("DATE", NONE),
        json: "19000",
        said: "a number in `v`; declare BIGINT and use arrow_cast(.., 'Date32') where it counts days, or set `kafka.json.timestamp_unit`",
        followed: &[("BIGINT", NONE, "arrow_cast(v, 'Date32')", "2022-01-08")],
    },
    Case {
        declared: ("DATE", NONE),
        json: "1641600000000",
        said: "a number in `v`; declare BIGINT and use arrow_cast(.., 'Date32') where it counts days, or set `kafka.json.timestamp_unit`",
        followed: &[("DATE", MS, "v", "2022-01-08")],
    },
    Case {
        declared: ("DATE", MS),
        json: "19000",
        said: "a number more precise than the column in `v`; declare BIGINT and use arrow_cast(.., 'Date32') where it counts days, or declare TIMESTAMP and cast to DATE",
        followed: &[("BIGINT", NONE, "arrow_cast(v, 'Date32')", "2022-01-08")],
    },
    Case {
        declared: ("DATE", MS),
        json: "1641600000001",
        said: "a number more precise than the column in `v`; declare BIGINT and use arrow_cast(.., 'Date32') where it counts days, or declare TIMESTAMP and cast to DATE",
        followed: &[("TIMESTAMP", MS, "CAST(v AS DATE)", "2022-01-08")],
    },
    Case {
        declared: ("DATE", NONE),
        json: "[2024,2,29]",
        said: "an array in `v`; declare BIGINT[] and use make_date of its elements, or VARCHAR for its JSON text",
        followed: &[
            (
                "BIGINT[]",
                NONE,
                "make_date(v[1], v[2], v[3])",
                "2024-02-29",
            ),
            ("VARCHAR", NONE, "v", "[2024,2,29]"),
        ],
    },
    Case {
        declared: ("DATE", NONE),
        json: r#""29/02/2024""#,
        said: "a string that is not an ISO 8601 date or time in `v`; declare VARCHAR and use to_date with its format, as in '%d/%m/%Y'",
        followed: &[("VARCHAR", NONE, "to_date(v, '%d/%m/%Y')", "2024-02-29")],
    },
    Case {
        declared: ("DATE", NONE),
        json: r#""2024-02-29T08:30:00Z""#,
        said: "a date or time more precise than the column in `v`; declare TIMESTAMP and cast to DATE",
        followed: &[("TIMESTAMP", NONE, "CAST(v AS DATE)", "2024-02-29")],
    },
    Case {
        declared: ("DATE", NONE),
        json: r#""+9999999-01-01""#,
        said: "a date or time out of range in `v`; declare VARCHAR for its text",
        followed: &[("VARCHAR", NONE, "v", "+9999999-01-01")],
    },
    Case {
        declared: ("DATE", NONE),
        json: "true",
        said: "a boolean in `v`; declare BOOLEAN, or VARCHAR, which takes values of every kind as text",
        followed: &[("BOOLEAN", NONE, "v", "true")],
    },
    // Timestamps.
    Case {
        declared: ("TIMESTAMP", NONE),
        json: "1709195400123",
        said: "a number in `v`; set `kafka.json.timestamp_unit`, or declare BIGINT and use to_timestamp_millis or similar",
        followed: &[
            ("TIMESTAMP", MS, "v", "2024-02-29T08:30:00.123"),
            (
                "BIGINT",
                NONE,
                "to_timestamp_millis(v)",
                "2024-02-29T08:30:00.123",
            ),
            (
                "BIGINT",
                NONE,
                "to_timestamp_micros(v * 1000)",
                "2024-02-29T08:30:00.123",
            ),
            (
                "BIGINT",
                NONE,
                "to_timestamp_nanos(v * 1000000)",
                "2024-02-29T08:30:00.123",
            ),
            (
                "BIGINT",
                NONE,
                "to_timestamp_seconds(v / 1000)",
                "2024-02-29T08:30:00",
            ),
        ],
    },
    Case {
        declared: ("TIMESTAMP", NONE),
        json: "1709195400.123456",
        said: "a fractional number in `v`; set `kafka.json.timestamp_unit`",
        followed: &[("TIMESTAMP", S, "v", "2024-02-29T08:30:00.123456")],
    },
    Case {
        declared: ("TIMESTAMP", S),
        json: "1709195400123456",
        said: "a number out of range in `v`; declare a coarser type, such as TIMESTAMP(3), or, where `kafka.json.timestamp_unit` is not its unit, BIGINT and use to_timestamp_millis or similar",
        followed: &[(
            "BIGINT",
            NONE,
            "to_timestamp_micros(v)",
            "2024-02-29T08:30:00.123456",
        )],
    },
    Case {
        declared: ("TIMESTAMP", MS),
        json: "10413792000000",
        said: "a number out of range in `v`; declare a coarser type, such as TIMESTAMP(3), or, where `kafka.json.timestamp_unit` is not its unit, BIGINT and use to_timestamp_millis or similar",
        followed: &[("TIMESTAMP(3)", MS, "v", "2300-01-01T00:00:00")],
    },
    Case {
        declared: ("TIMESTAMP(0)", MS),
        json: "1709195400123",
        said: "a number more precise than the column in `v`; declare a finer type, such as TIMESTAMP(9)",
        followed: &[("TIMESTAMP(9)", MS, "v", "2024-02-29T08:30:00.123")],
    },
    Case {
        declared: ("TIMESTAMP", NONE),
        json: "[2024,2,29,8,30]",
        said: "an array in `v`; declare BIGINT[] and use to_timestamp(array_to_string(.., '-'), '%Y-%m-%d-%H-%M'), or VARCHAR for its JSON text",
        followed: &[
            (
                "BIGINT[]",
                NONE,
                "to_timestamp(array_to_string(v, '-'), '%Y-%m-%d-%H-%M')",
                "2024-02-29T08:30:00",
            ),
            ("VARCHAR", NONE, "v", "[2024,2,29,8,30]"),
        ],
    },
    Case {
        declared: ("TIMESTAMP", NONE),
        json: r#""29/02/2024 08:30:00""#,
        said: "a string that is not an ISO 8601 date or time in `v`; declare VARCHAR and use to_timestamp with its format, as in '%d/%m/%Y %H:%M:%S'",
        followed: &[(
            "VARCHAR",
            NONE,
            "to_timestamp(v, '%d/%m/%Y %H:%M:%S')",
            "2024-02-29T08:30:00",
        )],
    },
    Case {
        declared: ("TIMESTAMP", NONE),
        json: r#""9999-12-31T00:00:00Z""#,
        said: "a date or time out of range in `v`; declare a coarser type, such as TIMESTAMP(3), or VARCHAR for its text",
        followed: &[
            ("TIMESTAMP(3)", NONE, "v", "9999-12-31T00:00:00"),
            ("VARCHAR", NONE, "v", "9999-12-31T00:00:00Z"),
        ],
    },
    Case {
        declared: ("TIMESTAMP(3)", NONE),
        json: r#""2024-02-29T08:30:00.123456Z""#,
        said: "a date or time more precise than the column in `v`; declare a finer type, such as TIMESTAMP(9), or VARCHAR and cast",
        followed: &[
            ("TIMESTAMP(9)", NONE, "v", "2024-02-29T08:30:00.123456"),
            (
                "VARCHAR",
                NONE,
                "CAST(v AS TIMESTAMP(3))",
                "2024-02-29T08:30:00.123",
            ),
        ],
    },
    Case {
        declared: ("TIMESTAMP", NONE),
        json: r#""2024-02-29T08:30:00.1234567891Z""#,
        said: "a date or time more precise than the column in `v`; declare VARCHAR and cast",
        followed: &[(
            "VARCHAR",
            NONE,
            "CAST(v AS TIMESTAMP)",
            "2024-02-29T08:30:00.123456789",
        )],
    },
    // Times of day.
    Case {
        declared: ("TIME", NONE),
        json: "30600000000",
        said: "a number in `v`; set `kafka.json.timestamp_unit`, or declare BIGINT and use arrow_cast(.., 'Time64(Microsecond)') or similar",
        followed: &[
            ("TIME", "'kafka.json.timestamp_unit' 'us'", "v", "08:30:00"),
            (
                "BIGINT",
                NONE,
                "arrow_cast(v, 'Time64(Microsecond)')",
                "08:30:00",
            ),
            (
                "BIGINT",
                NONE,
                "arrow_cast(v * 1000, 'Time64(Nanosecond)')",
                "08:30:00",
            ),
        ],
    },
    Case {
        declared: ("TIME", MS),
        json: "30600000000",
        said: "a number out of range in `v`; declare BIGINT and, where `kafka.json.timestamp_unit` is not its unit, use arrow_cast(.., 'Time64(Microsecond)') or similar",
        followed: &[(
            "BIGINT",
            NONE,
            "arrow_cast(v, 'Time64(Microsecond)')",
            "08:30:00",
        )],
    },
    Case {
        declared: ("TIME", NONE),
        json: r#""08.30.00""#,
        said: "a string that is not an ISO 8601 time in `v`; declare VARCHAR and use to_time with its format, as in '%H.%M.%S'",
        followed: &[("VARCHAR", NONE, "to_time(v, '%H.%M.%S')", "08:30:00")],
    },
    Case {
        declared: ("TIME", NONE),
        json: r#""08:30:00.1234567891""#,
        said: "a date or time more precise than the column in `v`; declare VARCHAR and cast",
        followed: &[("VARCHAR", NONE, "CAST(v AS TIME)", "08:30:00.123456789")],
    },
    // Durations.
    Case {
        declared: ("INTERVAL", NONE),
        json: "1500",
        said: "a number in `v`; declare BIGINT and use arrow_cast(.., 'Duration(Millisecond)') or similar",
        followed: &[(
            "BIGINT",
            NONE,
            "arrow_cast(v, 'Duration(Millisecond)') = INTERVAL '1.5 seconds'",
            "true",
        )],
    },
    Case {
        declared: ("INTERVAL", NONE),
        json: r#""1 day""#,
        said: "a string that is not an ISO 8601 duration in `v`; declare VARCHAR and cast to INTERVAL",
        followed: &[(
            "VARCHAR",
            NONE,
            "CAST(v AS INTERVAL) = INTERVAL '1 day'",
            "true",
        )],
    },
];

/// In a session whose time zone is Europe/Berlin.
const LOCAL: &[Case] = &[Case {
    declared: ("TIMESTAMP WITH TIME ZONE", NONE),
    json: r#""2024-03-31T02:30:00""#,
    said: "a local time that the column's time zone does not have or has twice in `v`; declare TIMESTAMP without a time zone, or VARCHAR for its text",
    followed: &[
        ("TIMESTAMP", NONE, "v", "2024-03-31T02:30:00"),
        ("VARCHAR", NONE, "v", "2024-03-31T02:30:00"),
    ],
}];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_says_to_do_about_a_value_gives_the_value() {
    let kafka = EmbeddedKafka::start().unwrap();
    let failures = follow(&kafka, "values", &session(&kafka), CASES).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_says_to_do_about_a_local_time_gives_it() {
    let kafka = EmbeddedKafka::start().unwrap();
    let ctx = session(&kafka);
    answer(&ctx, "SET TIMEZONE = 'Europe/Berlin'")
        .await
        .unwrap();
    let failures = follow(&kafka, "local", &ctx, LOCAL).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Follows the advice for each value. Returns the cases that came out differently.
async fn follow(
    kafka: &EmbeddedKafka,
    topic: &str,
    ctx: &SessionContext,
    cases: &[Case],
) -> Vec<String> {
    kafka.create_topic(topic, 1).unwrap();
    let payloads = cases.iter().enumerate().map(|(index, case)| {
        let json = case.json.replace('\'', "''");
        format!("('k{index}', '{{\"v\":{json}}}')")
    });
    let payloads: Vec<_> = payloads.collect();
    declare(ctx, topic, "_key VARCHAR, _value VARCHAR", TEXT).await;
    let insert = format!("INSERT INTO t VALUES {}", payloads.join(", "));
    answer(ctx, &insert).await.unwrap();

    let mut failures = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let ask = |what: &str| format!("SELECT {what} FROM t WHERE _key = 'k{index}'");
        let column = |data_type: &str| format!("_key VARCHAR, v {data_type}");
        let (data_type, options) = case.declared;
        declare(ctx, topic, &column(data_type), options).await;
        let said = answer(ctx, &ask("v")).await.unwrap_err();
        let said = said.split_once("but found ").map_or("", |(_, said)| said);
        let said = said.replace(" at byte 5", "").replace(" at byte 9", "");
        let policy = "set `kafka.on_bad_record` = `null` or `skip`";
        let expected = format!("{}, or {policy}", case.said);
        if said != expected {
            let value = case.json;
            failures.push(format!("{data_type} {value}: {said}\n  not {expected}"));
        }
        let null = [NULL, options].into_iter();
        let null: Vec<_> = null.filter(|option| !option.is_empty()).collect();
        declare(ctx, topic, &column(data_type), &null.join(", ")).await;
        assert_eq!(answer(ctx, &ask("v")).await.unwrap(), "NULL");
        for (data_type, options, what, expected) in case.followed {
            declare(ctx, topic, &column(data_type), options).await;
            let answer = answer(ctx, &ask(what)).await;
            if answer.as_deref() != Ok(*expected) {
                failures.push(format!("{data_type} {what} of {}: {answer:?}", case.json));
            }
        }
    }
    failures
}
