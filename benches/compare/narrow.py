"""The narrow query with confluent-kafka, a dict and orjson: python3 narrow.py SERVERS TOPIC"""

import sys

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition


def latest_payloads(servers, topic):
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "narrow",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Its default is a pause of a second each time the queue is full.
            "fetch.queue.backoff.ms": 0,
            "fetch.wait.max.ms": 10,
        }
    )
    partitions = [
        TopicPartition(topic, partition, OFFSET_BEGINNING)
        for partition in consumer.list_topics(topic).topics[topic].partitions
    ]
    ends = {p.partition: consumer.get_watermark_offsets(p)[1] for p in partitions}
    unread = set(ends)
    consumer.assign(partitions)
    latest = {}
    while unread:
        for message in consumer.consume(10_000, timeout=0.1):
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise SystemExit(f"{topic}: {error}")
                # Behind the end offset there may be no record, only the end of a transaction.
                unread.discard(message.partition())
            else:
                payload = message.value()
                if payload is None:
                    latest.pop(message.key(), None)
                else:
                    latest[message.key()] = payload
                if message.offset() + 1 >= ends[message.partition()]:
                    unread.discard(message.partition())
    consumer.close()
    return latest.values()


def main(servers, topic):
    groups = {}
    for payload in latest_payloads(servers, topic):
        order = orjson.loads(payload)
        group = groups.setdefault(order["status"], [0, 0])
        group[0] += 1
        # In cents, which are exact.
        group[1] += round(order["amount"] * 100)
    for status, (count, cents) in sorted(groups.items()):
        print(f"{status},{count},{cents // 100}.{cents % 100:02}")


main(*sys.argv[1:])
