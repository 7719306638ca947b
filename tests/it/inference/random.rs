//! Random numbers of all magnitudes: an inferred column finds equal numbers, and a DELETE removes
//! their rows and no others.

use std::collections::BTreeSet;

use super::{answers, inferred};
use crate::broker::{self, Rec};
use crate::random::Random;
use crate::session::count;

impl Random {
    fn digits(&mut self, count: u64) -> String {
        let first = char::from(b'1' + self.below(9) as u8);
        let rest = (1..count).map(|_| char::from(b'0' + self.below(10) as u8));
        std::iter::once(first)
            .chain(rest.collect::<Vec<_>>())
            .collect()
    }

    /// The text of a number of one of these kinds.
    fn number(&mut self, kind: u64) -> String {
        let sign = ["", "", "-"][self.below(3) as usize];
        // Close to the limits of a type, so that adjacent numbers occur.
        let near =
            |random: &mut Random, end: i128| (end + i128::from(random.below(4)) - 2).to_string();
        let number = match kind {
            0 => self.below(5).to_string(),
            1 => near(self, 1 << 53),
            2 => near(self, 1 << 63),
            3 => near(self, 1 << 64),
            4 => near(self, 10_i128.pow(30)),
            5 => {
                let count = 1 + self.below(40);
                self.digits(count)
            }
            6 => format!("{}.{}", self.below(3), self.below(1000)),
            7 => {
                let count = 14 + self.below(8);
                format!("0.{}", self.digits(count))
            }
            8 => format!("{}e{}", self.below(20), self.below(25)),
            9 => format!("{}.5e-{}", self.below(20), self.below(12)),
            10 => format!("1e{}", 290 + self.below(10)),
            // Sums of doubles, in the form that programs print.
            _ => {
                let double = self.below(100) as f64 * 0.1 + 0.2;
                format!("{double}")
            }
        };
        format!("{sign}{number}")
    }
}

/// The value of a number's text: its digits without leading and trailing zeros, and an exponent.
pub(super) fn value(number: &str) -> (bool, String, i64) {
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let mut exponent = exponent.parse::<i64>().unwrap() - fraction.len() as i64;
    while digits.ends_with('0') {
        digits.pop();
        exponent += 1;
    }
    let digits = digits.trim_start_matches('0').to_owned();
    match digits.is_empty() {
        true => (false, digits, 0),
        false => (negative, digits, exponent),
    }
}

#[test]
fn values_are_compared_as_numbers() {
    assert_eq!(value("1.50e2"), value("150"));
    assert_eq!(value("-0"), value("0.00"));
    assert_ne!(value("1"), value("-1"));
}

/// The places where the numbers occur in a record.
struct Place {
    options: &'static str,
    record: fn(usize, &str) -> Rec,
    column: &'static str,
    from: &'static str,
    may_delete: bool,
}

const PLACES: [Place; 4] = [
    Place {
        options: "",
        record: |n, number| Rec::new(format!("k{n}"), format!("{{\"n\":{number}}}")),
        column: "n",
        from: "t",
        may_delete: true,
    },
    Place {
        options: "",
        record: |n, number| Rec::new(format!("k{n}"), format!("{{\"s\":{{\"n\":{number}}}}}")),
        column: "get_field(s, 'n')",
        from: "t",
        may_delete: true,
    },
    Place {
        options: "",
        record: |n, number| Rec::new(format!("k{n}"), format!("{{\"l\":[{number},null]}}")),
        column: "n",
        from: "(SELECT unnest(l) AS n FROM t)",
        may_delete: false,
    },
    Place {
        options: "'kafka.key.format' 'json'",
        record: |n, number| Rec::new(number, format!("{{\"v\":{n}}}")),
        column: "_key",
        from: "t",
        may_delete: true,
    },
];

#[tokio::test]
async fn equal_numbers_are_found_and_deleted_and_no_others() {
    let Some(broker) = broker::required("equal_numbers_are_found") else {
        return;
    };
    const CASES: u64 = 24;
    let mut types = BTreeSet::new();
    for case in 0..CASES {
        let mut random = Random(case);
        let place = &PLACES[(case % 4) as usize];
        let kinds: Vec<u64> = (0..1 + random.below(3)).map(|_| random.below(12)).collect();
        let mut numbers: Vec<String> = (0..12)
            .map(|_| {
                let kind = kinds[random.below(kinds.len() as u64) as usize];
                random.number(kind)
            })
            .collect();
        if place.column == "_key" {
            numbers = numbers
                .into_iter()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
        }
        let topic = broker.new_topic("numbers", 1, &[]);
        let records = numbers.iter().enumerate();
        let records = records.map(|(n, number)| (place.record)(n, number));
        broker.produce(&topic, &records.collect::<Vec<_>>());
        let ctx = inferred(broker, &topic, place.options).await;
        let (column, from) = (place.column, place.from);
        let what = format!("case {case}: {column} of {numbers:?}");

        let type_of = format!("SELECT DISTINCT arrow_typeof({column}) FROM {from}");
        let data_type = answers(&ctx, &type_of).await.remove(0);
        let is_text = data_type == "Utf8View";
        types.insert(data_type);
        // Numbers that no number type can hold are text, and are compared as text.
        let same = |one: &str, other: &str| match is_text {
            true => one == other,
            false => value(one) == value(other),
        };
        let holds = |number: &str| match is_text {
            true => format!("{column} = '{number}'"),
            false => format!("{column} = {number}"),
        };
        for number in numbers.iter().collect::<BTreeSet<_>>() {
            let equal = numbers.iter().filter(|other| same(number, other)).count();
            let query = format!("SELECT count(*) FROM {from} WHERE {}", holds(number));
            assert_eq!(
                answers(&ctx, &query).await,
                [equal.to_string()],
                "{query}; {what}"
            );
        }
        if !place.may_delete {
            continue;
        }
        let number = numbers[random.below(numbers.len() as u64) as usize].clone();
        let equal = numbers.iter().filter(|other| same(&number, other)).count();
        let delete = format!("DELETE FROM t WHERE {}", holds(&number));
        assert_eq!(count(&ctx, &delete).await, equal as u64, "{delete}; {what}");
        numbers.retain(|other| !same(&number, other));
        let left = answers(&ctx, "SELECT count(*) FROM t").await;
        assert_eq!(left, [numbers.len().to_string()], "{what}");
        let query = format!("SELECT count(*) FROM t WHERE {}", holds(&number));
        assert_eq!(answers(&ctx, &query).await, ["0"], "{query}; {what}");
    }
    assert!(types.len() >= 5, "{types:?}");
}
