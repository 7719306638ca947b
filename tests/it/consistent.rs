//! All scans of a topic in one query read the same snapshot, wherever they are in the query and
//! however much is written meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use datafusion::physical_plan::{collect, common};
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaScanExec, fix_ends};
use futures::{StreamExt as _, stream};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::broker::{self, Broker};
use crate::declared::{APPEND, Declared};
use crate::session::cells;

/// How often each query runs.
const RUNS: usize = 100;

/// A topic of three partitions to which a thread writes thousands of records per second. Every
/// other record updates a key; the others have new keys. `v` grows with each record.
struct Busy {
    /// A session with the topic as table `t`, and with its log as table `log`.
    declared: Declared,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Busy {
    async fn new(broker: &'static Broker) -> Self {
        let topic = broker.new_topic("busy", 3, &[]);
        let columns = "_key VARCHAR, v BIGINT, _partition INT";
        let declared = Declared::new(broker, &topic, columns, &[]).await;
        declared
            .add("log", &topic, columns, &[APPEND])
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let stop = Arc::clone(&stop);
            move || write_until(&stop, broker, &topic)
        });
        Busy {
            declared,
            stop,
            writer: Some(writer),
        }
    }

    /// Runs the query repeatedly. The first half of its columns must always equal the second half.
    async fn agrees(&self, sql: &str) {
        let rows = self.rows(sql).await;
        let differ = |row: &&String| {
            let cells: Vec<&str> = row.split('|').collect();
            let (left, right) = cells.split_at(cells.len() / 2);
            left != right
        };
        let different: Vec<&String> = rows.iter().filter(differ).collect();
        let count = different.len();
        assert_eq!(count, 0, "of {RUNS}, {:?}: {sql}", different.first());
        let answers: BTreeSet<&String> = rows.iter().collect();
        assert!(answers.len() > RUNS / 10, "nobody wrote: {answers:?}");
    }

    /// Runs the query repeatedly. It must always count 0.
    async fn counts_nothing(&self, sql: &str) {
        let rows = self.rows(sql).await;
        let wrong = rows.iter().filter(|row| *row != "0").count();
        assert_eq!(wrong, 0, "{rows:?}: {sql}");
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        let runs = stream::iter(0..RUNS).map(|_| self.declared.rows(sql));
        let rows: Vec<Vec<String>> = runs.buffer_unordered(4).collect().await;
        rows.concat()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let written = writer.join();
            assert!(thread::panicking() || written.is_ok(), "the writer failed");
        }
    }
}

fn write_until(stop: &AtomicBool, broker: &Broker, topic: &str) {
    let mut config = broker.config();
    config.set("linger.ms", "0");
    let producer: BaseProducer = config.create().unwrap();
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let key = match written % 2 {
                0 => format!("k{}", written % 1_000),
                _ => format!("new{written}"),
            };
            let payload = format!("{{\"v\":{written}}}");
            let record = BaseRecord::to(topic).key(&key).payload(&payload);
            producer.send(record).map_err(|(why, _)| why).unwrap();
            written += 1;
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        // Two thousand records per second suffice, and all of them can still be read in time.
        thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_ran_gives_the_offsets_that_it_read_to() {
    let Some(broker) = broker::required("a_plan_that_ran_gives_the_offsets") else {
        return;
    };
    let busy = Busy::new(broker).await;
    let ctx = &busy.declared.ctx;
    let counted = "SELECT count(v), sum(v) FROM t";
    let frame = datafusion_kafka::sql(ctx, counted).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let scan = KafkaScanExec::all_in(&plan);
    assert_eq!(scan.len(), 1);
    assert_eq!(scan[0].end_offsets(), None);
    for turn in 0..3 {
        let answer = collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
        let end = scan[0].end_offsets().unwrap().to_string();
        let name = format!("t{turn}");
        let columns = "_key VARCHAR, v BIGINT";
        busy.declared
            .add(&name, scan[0].topic(), columns, &[("kafka.end", &end)])
            .await
            .unwrap();
        let again = format!("SELECT count(v), coalesce(sum(v), 0) FROM {name}");
        let again = busy.declared.rows(&again).await;
        assert_eq!(again, [cells(&answer).concat().join("|")], "{end}");
    }
}

/// FFI starts each partition with a context of its own.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_with_contexts_of_their_own_are_of_one_instant() {
    let Some(broker) = broker::required("partitions_with_contexts_of_their_own") else {
        return;
    };
    let busy = Busy::new(broker).await;
    let ctx = &busy.declared.ctx;
    let columns = "_key VARCHAR, v BIGINT";
    for turn in 0..10 {
        let frame = datafusion_kafka::sql(ctx, "SELECT v FROM log").await;
        let plan = frame.unwrap().create_physical_plan().await.unwrap();
        let partitions = plan.properties().output_partitioning().partition_count();
        let mut read = Vec::new();
        for partition in (0..partitions).rev() {
            let stream = plan.execute(partition, ctx.task_ctx()).unwrap();
            read.extend(common::collect(stream).await.unwrap());
            // More is written before the next partition starts.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let end = KafkaScanExec::all_in(&plan)[0].end_offsets().unwrap();
        let options = [APPEND, ("kafka.end", &end.to_string())];
        let topic = KafkaScanExec::all_in(&plan)[0].topic();
        let name = format!("log{turn}");
        busy.declared
            .add(&name, topic, columns, &options)
            .await
            .unwrap();
        let values: Vec<i64> = cells(&read)
            .iter()
            .map(|row| row[0].parse().unwrap())
            .collect();
        let sum: i64 = values.iter().sum();
        let again = format!("SELECT count(v), coalesce(sum(v), 0) FROM {name}");
        let expected = [format!("{}|{sum}", values.len())];
        assert_eq!(busy.declared.rows(&again).await, expected, "{end}");
    }
}

/// A session that nobody prepared plans each reference to a topic by itself.
#[tokio::test(flavor = "multi_thread")]
async fn fixing_a_plan_makes_its_scans_agree_in_any_session() {
    let Some(broker) = broker::required("fixing_a_plan_makes_its_scans_agree") else {
        return;
    };
    let busy = Busy::new(broker).await;
    let plain = SessionContext::new();
    for name in ["t", "log"] {
        let table = busy.declared.ctx.table_provider(name).await.unwrap();
        plain.register_table(name, table).unwrap();
    }
    let sql = "SELECT count(l.v), sum(l.v), (SELECT max(v) FROM log), \
                      count(r.v), sum(r.v), (SELECT max(v) FROM t) \
               FROM t AS l FULL JOIN t AS r ON l._key = r._key";
    let mut apart = false;
    for turn in 0..RUNS / 4 {
        let frame = plain.sql(sql).await.unwrap();
        let mut plan = frame.create_physical_plan().await.unwrap();
        let ends = |plan: &_| -> BTreeSet<String> {
            let scans = KafkaScanExec::all_in(plan);
            assert_eq!(scans.len(), 4);
            let ends = scans.iter().map(|scan| scan.end_offsets().unwrap());
            ends.map(|end| end.to_string()).collect()
        };
        // Every fifth plan shows that somebody writes.
        let is_fixed = turn % 5 != 4;
        if is_fixed {
            plan = fix_ends(plan).await.unwrap();
            assert_eq!(ends(&plan).len(), 1, "{turn}");
        }
        let rows = cells(&collect(Arc::clone(&plan), plain.task_ctx()).await.unwrap()).concat();
        let (left, right) = rows.split_at(rows.len() / 2);
        assert!(!is_fixed || left == right, "{turn}: {rows:?}");
        apart |= ends(&plan).len() > 1;
    }
    assert!(apart, "nobody wrote");
}

macro_rules! agrees {
    ($($name:ident: $check:ident($sql:expr);)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let Some(broker) = broker::required(stringify!($name)) else {
                return;
            };
            Busy::new(broker).await.$check($sql).await;
        }
    )*};
}

agrees! {
    both_sides_of_a_join_agree: agrees(
        "SELECT count(l.v), sum(l.v), count(r.v), sum(r.v) FROM t AS l FULL JOIN t AS r ON l._key = r._key"
    );

    the_parts_of_a_union_agree: agrees(
        "SELECT count(a), sum(a), count(b), sum(b) FROM (
           SELECT v AS a, CAST(NULL AS BIGINT) AS b FROM t UNION ALL SELECT NULL, v FROM t)"
    );

    two_scalar_subqueries_agree: agrees(
        "SELECT (SELECT count(*) FROM t) AS a, (SELECT count(*) FROM t) AS b"
    );

    two_scalar_subqueries_of_a_log_agree: agrees(
        "SELECT (SELECT count(*) FROM log) AS a, (SELECT sum(v) FROM log) AS b,
                (SELECT count(v) FROM log) AS c, (SELECT sum(v) FROM log WHERE v >= 0) AS d"
    );

    a_scalar_subquery_agrees_with_the_query_around_it: agrees(
        "SELECT count(v), sum(v), (SELECT count(v) FROM t) AS c, (SELECT sum(v) FROM t) AS d FROM t"
    );

    nothing_is_newer_than_the_newest_of_a_subquery: counts_nothing(
        "SELECT count(*) FROM t WHERE v > (SELECT max(v) FROM t)"
    );

    two_uses_of_a_cte_agree: agrees(
        "WITH c AS (SELECT count(*) AS n, sum(v) AS s FROM t)
         SELECT l.n, l.s, r.n, r.s FROM c AS l CROSS JOIN c AS r"
    );

    what_a_subquery_lists_is_what_the_query_reads: counts_nothing(
        "SELECT count(*) FROM t WHERE v NOT IN (SELECT v FROM t)"
    );

    a_correlated_subquery_finds_every_row: counts_nothing(
        "SELECT count(*) FROM t AS l
         WHERE NOT EXISTS (SELECT 1 FROM t AS r WHERE r._key = l._key AND r.v = l.v)"
    );

    set_operations_agree: counts_nothing(
        "SELECT count(*) FROM (SELECT _key, v FROM t EXCEPT SELECT _key, v FROM t)"
    );

    partitions_read_by_themselves_agree_with_the_whole: agrees(
        "SELECT (SELECT sum(v) FROM t) AS whole,
                (SELECT sum(v) FROM t WHERE _partition = 0)
                + (SELECT sum(v) FROM t WHERE _partition = 1)
                + (SELECT sum(v) FROM t WHERE _partition = 2) AS parts"
    );

    the_turns_of_a_recursion_agree: counts_nothing(
        "WITH RECURSIVE turns AS (
           SELECT 1 AS turn, count(*) AS n FROM t
           UNION ALL
           SELECT turn + 1, c.n FROM turns CROSS JOIN (SELECT count(*) AS n FROM t) AS c WHERE turn < 4)
         SELECT count(DISTINCT n) - 1 FROM turns"
    );

    two_tables_of_one_topic_agree: agrees(
        "SELECT (SELECT max(v) FROM t) AS a, (SELECT max(v) FROM log) AS b"
    );
}
