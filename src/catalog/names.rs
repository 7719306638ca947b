//! Finds the names in a statement that it does not read.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{self, ObjectName, TableFactor, Visit as _, Visitor};

tokio::task_local! {
    /// The names that the statement being planned creates, or calls as functions. DataFusion looks
    /// them up as if they were tables to read. Patterns must not match them then, and the
    /// look-up must not wait for brokers.
    pub(crate) static CREATED_OR_CALLED: HashSet<String>;
}

/// The names that a statement creates or calls, and does not read anywhere.
pub(crate) fn created_or_called(statement: &Statement) -> HashSet<String> {
    let mut mentions = Mentions::default();
    match statement {
        Statement::CreateExternalTable(create) => {
            let name = last_part(&create.name);
            return name.map(str::to_owned).into_iter().collect();
        }
        Statement::Explain(explain) => return created_or_called(&explain.statement),
        Statement::Statement(statement) => {
            if let ast::Statement::CreateTable(create) = statement.as_ref() {
                mentions.of(&create.name).created_or_called += 1;
            }
            let _ = statement.visit(&mut mentions);
        }
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &copy.source {
                let _ = query.visit(&mut mentions);
            }
        }
        _ => {}
    }
    let names = mentions.0.into_iter();
    names
        .filter(|(_, times)| times.mentioned == times.created_or_called)
        .map(|(name, _)| name)
        .collect()
}

/// How often each name occurs in a statement.
#[derive(Default)]
struct Mentions(HashMap<String, Times>);

#[derive(Default)]
struct Times {
    mentioned: usize,
    created_or_called: usize,
}

impl Mentions {
    fn of(&mut self, name: &ObjectName) -> &mut Times {
        let name = last_part(name).unwrap_or_default();
        self.0.entry(name.to_owned()).or_default()
    }
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.of(name).mentioned += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name,
            args: Some(_),
            ..
        } = factor
        {
            self.of(name).created_or_called += 1;
        }
        ControlFlow::Continue(())
    }
}

/// The last part of a name, without its schema and without quotes.
pub(crate) fn last_part(name: &ObjectName) -> Option<&str> {
    let ident = name.0.last()?.as_ident()?;
    Some(&ident.value)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    #[test]
    fn what_is_made_or_called_is_not_read() {
        for (statement, expected) in [
            (
                "SELECT * FROM generate_series(1, 3)",
                vec!["generate_series"],
            ),
            (
                "EXPLAIN SELECT * FROM range(1, 3) JOIN orders",
                vec!["range"],
            ),
            ("COPY (SELECT * FROM range(1, 3)) TO 't'", vec!["range"]),
            ("SELECT * FROM range(1, 3) JOIN range", vec![]),
            ("CREATE TABLE t AS SELECT * FROM orders", vec!["t"]),
            ("CREATE TABLE t AS SELECT * FROM t", vec![]),
            (
                "CREATE EXTERNAL TABLE t STORED AS KAFKA LOCATION 't'",
                vec!["t"],
            ),
            ("INSERT INTO t SELECT * FROM orders", vec![]),
            ("SELECT (SELECT max(value) FROM range(1, 3))", vec!["range"]),
        ] {
            let parsed = DFParser::parse_sql(statement).unwrap();
            let names = created_or_called(parsed.front().unwrap());
            assert_eq!(
                names,
                expected.into_iter().map(str::to_owned).collect(),
                "{statement}"
            );
        }
    }
}
