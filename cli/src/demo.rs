//! The data of `--demo`: the orders and customers of a shop, with their history.

use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use datafusion_kafka::EmbeddedKafka;

use crate::stderr::to_stderr;

/// Creates the demo's topics and writes the shop's history to them.
pub(crate) async fn fill(kafka: &EmbeddedKafka, ctx: &SessionContext) -> Result<()> {
    for topic in ["customers", "orders"] {
        kafka.create_topic(topic, 3)?;
    }
    for statement in HISTORY {
        datafusion_kafka::sql(ctx, statement)
            .await?
            .collect()
            .await?;
    }
    Ok(())
}

/// Prints suggestions for the demo.
pub(crate) fn say_what_to_try(kafka: &EmbeddedKafka) {
    to_stderr!(
        "{}",
        WHAT_TO_TRY.replace("{servers}", &kafka.bootstrap_servers())
    );
}

const WHAT_TO_TRY: &str = "\
A small Kafka runs in this process until you leave; other clients find it at {servers}.
It has the topics `customers` and `orders`. Try:

  SHOW TABLES;
  SELECT * FROM orders LIMIT 5;
  SELECT country, count(*), sum(amount) FROM orders o JOIN customers c ON o.customer = c._key GROUP BY country ORDER BY 3 DESC;
  SELECT _offset, _tombstone, status, amount FROM kafka_log('orders') WHERE _key = 'o-1017';
  UPDATE orders SET status = 'returned' WHERE _key = 'o-1018';
  DELETE FROM customers WHERE _key = 'c-7';
";

/// Every order is placed. Most orders are paid and shipped; some are cancelled and deleted. A few
/// customers move, and a few leave.
const HISTORY: [&str; 7] = [
    "INSERT INTO customers
     SELECT 'c-' || n AS _key,
            first[1 + n * 7 % 10] || ' ' || last[1 + n * 3 % 11] AS name,
            country[1 + n * 5 % 6] AS country,
            n % 4 = 0 AS newsletter
     FROM (SELECT value AS n,
                  ['Ada','Bruno','Chidi','Dana','Emre','Fatima','Greta','Hugo','Ines','Jun'] AS first,
                  ['Abel','Berg','Costa','Diaz','Eriksen','Fofana','Gruber','Haas','Ito','Jansen','Kaya'] AS last,
                  ['DE','FR','NL','ES','IT','PL'] AS country
           FROM generate_series(1, 60))",
    "INSERT INTO orders
     SELECT 'o-' || (1000 + n) AS _key,
            'c-' || (1 + n * 17 % 60) AS customer,
            item[1 + n * 7 % 6] AS item,
            1 + n % 3 AS pieces,
            (1 + n % 3) * (4.5 + n * 37 % 83) AS amount,
            'placed' AS status,
            to_timestamp_seconds(1767600000 + n * 2820) AS placed_at
     FROM (SELECT value AS n, ['tea','lamp','chair','mug','desk','rug'] AS item
           FROM generate_series(1, 400))",
    "UPDATE orders SET status = 'paid' WHERE CAST(substr(_key, 3) AS INT) % 10 <> 0",
    "UPDATE orders SET status = 'shipped'
     WHERE status = 'paid' AND placed_at < TIMESTAMP '2026-01-15'",
    "UPDATE customers SET country = 'AT' WHERE _key IN ('c-5', 'c-23', 'c-41')",
    "DELETE FROM customers WHERE _key IN ('c-13', 'c-37')",
    "DELETE FROM orders WHERE status = 'placed' AND placed_at < TIMESTAMP '2026-01-12'",
];
