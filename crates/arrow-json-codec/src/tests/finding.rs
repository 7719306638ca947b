use proptest::prelude::*;

use crate::{DecodeError, DecodeErrorKind, NameMatching, PropertyFinder, documents};

fn found<'a>(finder: &mut PropertyFinder, payload: &'a str) -> Vec<Option<&'a str>> {
    let places = finder.find(payload.as_bytes()).unwrap();
    let texts = places.iter().cloned();
    texts
        .map(|place| place.map(|range| &payload[range]))
        .collect()
}

#[test]
fn values_are_found_wherever_they_stand() {
    let mut finder = PropertyFinder::new(&["op", "after"]);
    let cases = [
        (
            r#"{"op":"c","after":{"a":1}}"#,
            [Some(r#""c""#), Some(r#"{"a":1}"#)],
        ),
        (
            " {\"after\" : [1, \"}\"] ,\"x\":{\"op\":1}}\n",
            [None, Some(r#"[1, "}"]"#)],
        ),
        ("\u{FEFF}{\"op\":null}", [Some("null"), None]),
        (r#"{}"#, [None, None]),
        (r#"{"Op":1,"op ":2}"#, [None, None]),
        (
            r#"{"op":"\"","after":-1.5e3}"#,
            [Some(r#""\"""#), Some("-1.5e3")],
        ),
        (r#"{"\u006fp":"c"}"#, [Some(r#""c""#), None]),
        (
            r#"{"after":"ä→","op":"ö"}"#,
            [Some(r#""ö""#), Some(r#""ä→""#)],
        ),
    ];
    // Twice: what was learnt from one object must not change the next.
    for _ in 0..2 {
        for (payload, expected) in cases {
            assert_eq!(found(&mut finder, payload), expected, "{payload}");
        }
    }
}

#[test]
fn of_two_properties_of_one_name_the_last_counts() {
    let mut finder = PropertyFinder::new(&["a"]);
    assert_eq!(found(&mut finder, r#"{"a":1,"b":2,"a":3}"#), [Some("3")]);
    // Decoded checked, as an escape is unusual.
    assert_eq!(
        found(&mut finder, r#"{"a":1,"b":"\n","\u0061":[]}"#),
        [Some("[]")]
    );
}

#[test]
fn a_name_that_differs_in_case_is_found_where_asked() {
    let mut finder = PropertyFinder::new(&["a"]).with_names(NameMatching::IgnoreCase);
    for (payload, value) in [
        (r#"{"A":1}"#, "1"),
        (r#"{"a":2,"A":1}"#, "2"),
        (r#"{"A":1,"a":2}"#, "2"),
        (r#"{"A":1,"A":3}"#, "3"),
    ] {
        assert_eq!(found(&mut finder, payload), [Some(value)], "{payload}");
    }
}

#[test]
fn what_is_not_one_object_is_an_error_and_changes_nothing_after_it() {
    let mut finder = PropertyFinder::new(&["a"]);
    for payload in [
        "",
        "{",
        "[1]",
        "null",
        r#"{"a":1"#,
        r#"{"a":01}"#,
        r#"{"a":1}{}"#,
        r#"{"a" 1}"#,
    ] {
        assert!(finder.find(payload.as_bytes()).is_err(), "{payload}");
    }
    assert!(matches!(
        finder.find(b"[1]").unwrap_err().kind,
        DecodeErrorKind::NotAnObject(_)
    ));
    assert!(finder.find(b"{\"a\":\"\xFF\"}").is_err());
    assert_eq!(found(&mut finder, r#"{"b":{"a":2}}"#), [None]);
}

#[test]
fn lenient_documents_are_found_in_where_asked() {
    let payload = "{\"a\":NaN,\"b\":\"\t\"}";
    assert!(
        PropertyFinder::new(&["a"])
            .find(payload.as_bytes())
            .is_err()
    );
    let mut lenient = PropertyFinder::new(&["a"]).with_lenient(true);
    assert_eq!(found(&mut lenient, payload), [Some("NaN")]);
}

proptest! {
    #[test]
    fn a_place_has_the_value_that_was_written_last(
        entries in prop::collection::vec(("[abc]", super::json_text::json()), 0..6)
    ) {
        let body = entries.iter().map(|(name, value)| format!("\"{name}\": {value}"));
        let payload = format!("{{{}}}", body.collect::<Vec<_>>().join(", "));
        let mut finder = PropertyFinder::new(&["a", "b"]);
        for (name, value) in ["a", "b"].iter().zip(found(&mut finder, &payload)) {
            let expected = entries.iter().rev().find(|(property, _)| property == name);
            prop_assert_eq!(value, expected.map(|(_, value)| value.as_str()));
        }
    }
}

#[test]
fn documents_behind_each_other_are_told_apart() {
    let texts = |payload: &str| {
        let places = documents(payload.as_bytes(), false)?;
        let texts = places.into_iter().map(|place| payload[place].to_owned());
        Ok::<_, DecodeError>(texts.collect::<Vec<_>>())
    };
    assert_eq!(texts("{}\n{}\n").unwrap(), ["{}", "{}"]);
    assert_eq!(
        texts("\u{FEFF} [1]\"a\"null 2 3").unwrap(),
        ["[1]", "\"a\"", "null", "2", "3"]
    );
    assert_eq!(texts(" \n").unwrap(), Vec::<String>::new());
    assert_eq!(texts("").unwrap(), Vec::<String>::new());
    for broken in ["{}{", "{},{}", "1 x", "\"a"] {
        assert!(texts(broken).is_err(), "{broken}");
    }
}
