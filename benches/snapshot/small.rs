//! Small statements: the first of a session, which connects, and the ones after it.

use std::time::Instant;

use crate::query::session;
use crate::support::rounds::median;
use kafka_test_broker::Broker;

const SELECT: &str = "SELECT * FROM t";
/// The statements after which a broker that has just started answers as fast as it ever does.
const WARM_UP: usize = 500;
const INSERT: &str = "INSERT INTO t VALUES ('a', 1)";

/// The first statement of each of several sessions, and the second one of the same session.
pub fn print(broker: &'static Broker, rounds: usize) {
    let topic = broker.new_topic("bench", 1, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for sql in [INSERT, SELECT] {
        runtime.block_on(times(&broker.servers, &topic, sql, WARM_UP));
    }
    println!("a topic of one key, milliseconds (median)");
    println!("| statement | first | second |\n|---|---|---|");
    for sql in [INSERT, SELECT] {
        let both = (0..rounds).map(|_| runtime.block_on(times(&broker.servers, &topic, sql, 2)));
        let both: Vec<Vec<f64>> = both.collect();
        let [first, second] = [0, 1].map(|nth| median(both.iter().map(|times| times[nth])));
        println!("| `{sql}` | {first:.1} | {second:.1} |");
    }
    broker.delete_topic(&topic);
}

/// The times of a statement that runs this often in a new session.
async fn times(servers: &str, topic: &str, sql: &str, count: usize) -> Vec<f64> {
    let ctx = session(None);
    let create = format!(
        "CREATE EXTERNAL TABLE t (_key VARCHAR, n BIGINT) STORED AS KAFKA \
         LOCATION 'kafka://{servers}/{topic}'"
    );
    ctx.sql(&create).await.unwrap().collect().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        ctx.sql(sql).await.unwrap().collect().await.unwrap();
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times
}
