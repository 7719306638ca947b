//! Tests filters inside the scan, and the records that filters exclude from reading.

use std::fmt;
use std::hash::{Hash, Hasher};

use arrow::datatypes::FieldRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::ColumnarValue;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::filter::batch_filter;
use datafusion::prelude::SessionContext;

use super::*;

/// One comparison on any of the columns, in every form that SQL has.
fn condition() -> impl Strategy<Value = String> {
    let op = prop::sample::select(vec!["=", "<", "<=", ">", ">=", "<>"]);
    let key = (0..32u8).prop_map(|key| format!("'k{key}'"));
    prop_oneof![
        (op.clone(), 0..900i64).prop_map(|(op, n)| format!("_offset {op} {n}")),
        (op.clone(), 0..900i64).prop_map(|(op, n)| format!("CAST(_offset AS DOUBLE) {op} {n}.5")),
        (op.clone(), 0..900i64).prop_map(|(op, n)| format!("{n} {op} _offset")),
        (0..900i64, 0..300i64).prop_map(|(n, m)| format!("_offset BETWEEN {n} AND {}", n + m)),
        (0..900i64, 0..900i64).prop_map(|(n, m)| format!("_offset IN ({n}, {m}, NULL)")),
        (op.clone(), 0..3i32).prop_map(|(op, n)| format!("_partition {op} {n}")),
        (0..3i32).prop_map(|n| format!("_partition IN ({n}, 7)")),
        (op.clone(), 990..1060i64)
            .prop_map(|(op, n)| { format!("_timestamp {op} to_timestamp_millis({n})") }),
        (op.clone(), 0..3i64).prop_map(|(op, n)| {
            format!("CAST(_timestamp AS TIMESTAMP(0)) {op} to_timestamp_seconds({n})")
        }),
        Just("CAST(_timestamp AS DATE) = DATE '1970-01-01'".to_owned()),
        key.clone().prop_map(|key| format!("_key = {key}")),
        key.clone().prop_map(|key| format!("_key <> {key}")),
        key.clone().prop_map(|key| format!("_key > {key}")),
        prop::collection::vec(key, 1..4).prop_map(|keys| format!("_key IN ({})", keys.join(", "))),
        (op, 0..400i64).prop_map(|(op, n)| format!("v {op} {n}")),
        Just("_offset IS NULL".to_owned()),
        Just("_key IS NOT NULL".to_owned()),
    ]
}

fn filters() -> impl Strategy<Value = String> {
    condition().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

pub(super) fn physical(spec: &ScanSpec, sql: &str) -> Arc<dyn PhysicalExpr> {
    let ctx = SessionContext::new();
    let schema = spec.table.schema.arrow().project(&spec.columns).unwrap();
    let schema = DFSchema::try_from(schema).unwrap();
    let filter = ctx.parse_sql_expr(sql, &schema).unwrap();
    // The optimizer does the same before it pushes filters down.
    let info = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .build();
    let simplifier = ExprSimplifier::new(info);
    let filter = simplifier.coerce(filter, &schema).unwrap();
    let filter = simplifier.simplify(filter).unwrap();
    ctx.create_physical_expr(filter, &schema).unwrap()
}

pub(super) fn all_rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(|row| format!("{:?}", batch.slice(row, 1))))
        .collect();
    rows.sort_unstable();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Pruning never drops a record that would have passed the filter.
    #[test]
    fn a_filter_inside_the_scan_is_the_filter_above_it(
        log in logs(),
        sizes in sizes(),
        mode in prop::sample::select(vec!["upsert", "append"]),
        sql in filters(),
    ) {
        let range = OffsetRange { start: 0, end: log.last().map_or(0, |r| r.offset + 1) };
        let mut spec = spec(mode, vec![0, 1, 2, 3, 4], None);
        let filter = physical(&spec, &sql);
        let above: Vec<RecordBatch> = run(&spec, &log, range, sizes, 8)
            .batches
            .iter()
            .map(|batch| batch_filter(batch, &filter).unwrap())
            .collect();
        spec.filter = Some(filter);
        let inside = run(&spec, &log, range, sizes, 8);
        prop_assert_eq!(all_rows(&inside.batches), all_rows(&above), "{}", sql);
    }
}

/// An expression of another library, whose columns nobody sees.
#[derive(Debug, Eq)]
struct Hidden(Arc<dyn PhysicalExpr>);

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq(&other.0)
    }
}

impl Hash for Hidden {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl PhysicalExpr for Hidden {
    fn evaluate(&self, batch: &RecordBatch) -> datafusion::error::Result<ColumnarValue> {
        self.0.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> datafusion::error::Result<FieldRef> {
        self.0.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn PhysicalExpr>>,
    ) -> datafusion::error::Result<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[test]
fn what_a_filter_hides_excludes_no_records() {
    let log = numbered(100);
    let range = OffsetRange { start: 0, end: 100 };
    for mode in ["upsert", "append"] {
        for sql in ["v >= 90", "_key = 'k95'", "_partition = 0 AND v >= 90"] {
            let mut spec = spec(mode, vec![0, 1, 2, 3, 4], None);
            let known = physical(&spec, sql);
            spec.filter = Some(Arc::clone(&known));
            let expected = run(&spec, &log, range, ChunkSizes::default(), 8192);
            assert!(!rows(&expected.batches).is_empty(), "{sql}");
            spec.filter = Some(Arc::new(Hidden(known)));
            let result = run(&spec, &log, range, ChunkSizes::default(), 8192);
            assert_eq!(
                all_rows(&result.batches),
                all_rows(&expected.batches),
                "{sql}"
            );
        }
    }
}

#[test]
fn a_query_for_keys_stops_where_all_of_them_were_met() {
    let log = numbered(10_000);
    let range = OffsetRange {
        start: 0,
        end: 10_000,
    };
    let mut spec = spec("upsert", vec![0, 1], None);
    spec.filter = Some(physical(&spec, "_key IN ('k9990', 'k9900')"));
    let result = run(&spec, &log, range, ChunkSizes::default(), 8192);
    assert_eq!(rows(&result.batches).len(), 2);
    assert_eq!(result.fetched, ChunkSizes::default().first as usize);
}

#[test]
fn a_lower_bound_of_offsets_starts_the_reading_there() {
    let log = numbered(10_000);
    let range = OffsetRange {
        start: 0,
        end: 10_000,
    };
    for (mode, sql, read) in [
        ("upsert", "_offset >= 9000", 1_000),
        ("append", "_offset BETWEEN 9000 AND 9099", 100),
        ("upsert", "_partition = 1", 0),
        ("upsert", "_timestamp >= to_timestamp_millis(5000)", 0),
    ] {
        let mut spec = spec(mode, vec![0, 1, 2, 3, 4], None);
        spec.filter = Some(physical(&spec, sql));
        let result = run(&spec, &log, range, ChunkSizes::default(), 8192);
        assert_eq!(result.fetched, read, "{sql}");
    }
}

#[test]
fn a_comparison_that_rounds_does_not_decide_what_is_read() {
    // The float next to 16777216 is 16777218.
    let mut log = numbered(1);
    log[0].offset = 16_777_217;
    let range = OffsetRange {
        start: 0,
        end: 16_777_218,
    };
    let most = "99999999999999999999999999999999999999";
    for (mode, sql) in [
        (
            "append",
            "CAST(_offset AS REAL) = CAST(16777216 AS REAL)".to_owned(),
        ),
        (
            "append",
            "CAST(_offset AS REAL) <= CAST(16777216 AS REAL)".to_owned(),
        ),
        (
            "append",
            "CAST(CAST(_offset AS REAL) AS DOUBLE) = 16777216".to_owned(),
        ),
        (
            "upsert",
            format!(
                "CAST(CAST(CAST(_timestamp AS TIMESTAMP(0)) AS BIGINT) AS DECIMAL(38, 0)) < CAST('{most}' AS DECIMAL(38, 0))"
            ),
        ),
    ] {
        let mut spec = spec(mode, vec![0, 1, 2, 3, 4], None);
        spec.filter = Some(physical(&spec, &sql));
        let result = run(&spec, &log, range, ChunkSizes::default(), 8192);
        assert_eq!(rows(&result.batches).len(), 1, "{sql}");
    }
}
