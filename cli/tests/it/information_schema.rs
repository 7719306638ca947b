//! `information_schema` shows topics that were not used before.

use std::process::Output;

use crate::broker::{self, Broker, Rec, topic_name};
use crate::program::{program, said};

/// Two topics with records and one without. Only these topics are tables.
struct Topics {
    broker: &'static Broker,
    prefix: String,
}

impl Topics {
    fn new(test: &str) -> Option<Self> {
        let broker = broker::required(&format!("information_schema::{test}"))?;
        let prefix = topic_name("columns");
        let topics = Topics { broker, prefix };
        for name in ["one", "two", "empty"] {
            broker.create_topic(&topics.name(name), 1, &[]);
        }
        broker.produce(
            &topics.name("one"),
            &[Rec::new("a", r#"{"n":1,"text":"x"}"#)],
        );
        broker.produce(&topics.name("two"), &[Rec::new("a", r#"{"yes":true}"#)]);
        Some(topics)
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let pattern = format!("^{}-", self.prefix);
        program()
            .env_remove("RUST_LOG")
            .args(["-b", &self.broker.servers, "--topics", &pattern])
            .args(["--format", "csv"])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The standard output of statements, without the topics' prefix, and the standard error.
    #[track_caller]
    fn answer(&self, statements: &[&str]) -> (String, String) {
        let output = self.run(&[&["-c"], statements].concat());
        let said = said(&output);
        assert!(output.status.success(), "{statements:?}: {said}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let prefix = format!("{}-", self.prefix);
        (printed.replace(&prefix, ""), said.replace(&prefix, ""))
    }
}

const ALL: &str = "SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";

const COLUMNS: &str = "table_name,column_name,data_type
one,_key,Utf8View
one,n,Int64
one,text,Utf8View
two,_key,Utf8View
two,yes,Boolean
";

const NOTE: &str = "note: topics whose columns are not known are left out: `empty`; \
                    `DESCRIBE \"empty\"` says why\n";

#[test]
fn they_have_columns_and_one_without_records_has_a_note() {
    let Some(topics) = Topics::new("they_have_columns_and_one_without_records_has_a_note") else {
        return;
    };
    assert_eq!(topics.answer(&[ALL]), (COLUMNS.to_owned(), NOTE.to_owned()));
    let said_quietly = topics.run(&["-q", "-c", ALL]);
    assert_eq!(said(&said_quietly), "");
    // CREATE TABLE AS, views and joins with other tables of the schema see the same columns.
    let create = format!("CREATE TABLE found AS {ALL}");
    let (printed, _) = topics.answer(&[&create, "SELECT * FROM found ORDER BY 1, 2"]);
    assert_eq!(printed, COLUMNS);
    let join = "SELECT t.table_name, count(c.column_name) AS columns
        FROM \"information_schema\".\"tables\" t
        LEFT JOIN information_schema.columns c ON t.table_name = c.table_name
        WHERE t.table_schema = 'public' GROUP BY t.table_name ORDER BY 1";
    let expected = "table_name,columns\nempty,0\none,3\ntwo,2\n";
    assert_eq!(topics.answer(&[join]).0, expected);
}

#[test]
fn only_topics_that_are_asked_for_are_looked_into() {
    let Some(topics) = Topics::new("only_topics_that_are_asked_for_are_looked_into") else {
        return;
    };
    let one = topics.name("one");
    let columns = "SELECT table_name, count(*) AS n FROM information_schema.columns";
    let found = "table_name,n\none,3\n";
    for (filter, printed, looks_into_empty) in [
        (format!("table_name = '{one}'"), found, false),
        (format!("table_name IN ('{one}', 'other')"), found, false),
        ("table_name LIKE '%one'".to_owned(), found, false),
        (
            format!("'{one}' = table_name AND column_name <> 'x'"),
            found,
            false,
        ),
        (
            format!("table_schema = 'public' AND table_name < '{one}x'"),
            found,
            true,
        ),
        (
            format!("column_name = 'n' OR table_name = '{one}'"),
            found,
            true,
        ),
        ("table_schema <> 'public'".to_owned(), "", false),
    ] {
        let query = format!("{columns} c WHERE {filter} GROUP BY table_name");
        let (rows, said) = topics.answer(&[&query]);
        assert_eq!(rows, printed, "{filter}");
        assert_eq!(!said.is_empty(), looks_into_empty, "{filter}: {said}");
    }
    for show in [
        format!("SHOW COLUMNS FROM \"{one}\""),
        format!("DESCRIBE \"{one}\""),
    ] {
        let (rows, said) = topics.answer(&[&show]);
        assert_eq!((rows.lines().count(), said.as_str()), (1 + 3, ""), "{show}");
    }
}

#[test]
fn a_statement_may_read_and_write_topics_beside() {
    let Some(topics) = Topics::new("a_statement_may_read_and_write_topics_beside") else {
        return;
    };
    let (one, empty) = (topics.name("one"), topics.name("empty"));
    let insert = format!(
        "INSERT INTO \"{empty}\" SELECT column_name AS _key, data_type AS type
         FROM information_schema.columns WHERE table_name = '{one}'"
    );
    let read = format!(
        "SELECT e._key, e.type FROM \"{empty}\" e
         JOIN information_schema.columns c ON c.column_name = e._key AND c.table_name = '{one}'
         ORDER BY 1"
    );
    let (printed, _) = topics.answer(&[&insert, &read]);
    assert_eq!(
        printed,
        "count\n3\n_key,type\n_key,Utf8View\nn,Int64\ntext,Utf8View\n"
    );
}

/// Changing a setting repeats the inference of columns.
#[test]
fn a_topic_that_has_no_columns_any_more_is_left_out_too() {
    let Some(topics) = Topics::new("a_topic_that_has_no_columns_any_more_is_left_out_too") else {
        return;
    };
    let text = topics.name("text");
    topics.broker.create_topic(&text, 1, &[]);
    topics.broker.produce(&text, &[Rec::new("a", "some text")]);
    let read = format!("SELECT _value FROM \"{text}\"");
    let set = "SET kafka.value.format = 'json'";
    let (printed, said) = topics.answer(&[&read, set, ALL]);
    assert_eq!(printed, format!("_value\nsome text\n{COLUMNS}"), "{said}");
    assert!(said.contains("left out: `empty`, `text`;"), "{said}");
}
