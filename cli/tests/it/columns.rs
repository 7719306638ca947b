//! The advice in messages about inferred columns is followed.

use crate::broker::{self, Rec};
use crate::program::{failure, printed, program};

#[test]
fn a_column_that_a_sample_does_not_show_or_has_as_text_is_explained() {
    let Some(broker) = broker::required("a_column_that_a_sample_does_not_show") else {
        return;
    };
    let topic = broker.new_topic("sampled", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("a", r#"{"rare":7,"v":1}"#),
            Rec::new("b", r#"{"v":"two"}"#),
            Rec::new("c", r#"{"v":4}"#),
        ],
    );
    let query = |records: &str, select: &str| {
        let mut program = program();
        program.args(["-b", &broker.servers, "-q", "--format", "csv"]);
        program.args(["-X", &format!("kafka.infer.records={records}")]);
        program.args(["-c", &format!("SELECT {select} FROM \"{topic}\"")]);
        program
    };
    let why = failure(&mut query("2", "max(rare) AS n"));
    assert!(why.starts_with("Error: No field named rare."), "{why}");
    let advice = format!(
        " The columns of `{topic}` are those that a sample of the newest records shows; set \
         `kafka.infer.records` to sample more of them, or declare the columns\n"
    );
    assert!(why.ends_with(&advice), "{why}");
    assert_eq!(printed(&mut query("3", "max(rare) AS n")), "n\n7\n");

    assert_eq!(
        failure(&mut query("3", "sum(v) AS n")),
        "Error: sum needs numbers, and `v` is VARCHAR, since not all sampled records have a number \
         there; write try_cast(v AS DOUBLE) in its place, which is NULL for what is no number\n"
    );
    let followed = "sum(try_cast(v AS DOUBLE)) AS n";
    assert_eq!(printed(&mut query("3", followed)), "n\n5.0\n");
}
