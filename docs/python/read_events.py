"""Rewards per task and outcome, from the log alone: facts are JSON, batches are Arrow IPC streams.

usage: read_events.py kafka://HOST:PORT[/PREFIX]
"""

import json
import sys

import pyarrow as pa
import pyarrow.ipc
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition


def parse(address):
    """The brokers, and what stands before every topic's name."""
    brokers, _, prefix = address.removeprefix("kafka://").partition("/")
    return brokers, f"{prefix}." if prefix else ""


def read(address, event_type):
    """Every committed event of a type that is there now, once: (headers, key, value)."""
    brokers, prefix = parse(address)
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "plumbline-python-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    topic = prefix + event_type
    known = consumer.list_topics(topic, timeout=30).topics[topic]
    if known.error is not None:
        raise KafkaException(known.error)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in known.partitions])
    open_partitions = set(known.partitions)
    seen = set()
    while open_partitions:
        message = consumer.poll(30)
        if message is None:
            raise TimeoutError(f"{topic}: nothing from {brokers} for 30 seconds")
        if message.error() is not None:
            if message.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(message.error())
            open_partitions.discard(message.partition())
            continue
        headers = {name: value.decode() for name, value in message.headers() or []}
        # The log may hold the same event twice; whoever has no id is no event.
        if "ce_id" not in headers or headers["ce_id"] in seen:
            continue
        seen.add(headers["ce_id"])
        yield headers, message.key().decode(), message.value()
    consumer.close()


def fact(headers, value):
    """One event, one JSON object."""
    if headers["content-type"] != "application/json":
        raise ValueError(f"{headers['ce_id']}: expected application/json, got {headers['content-type']}")
    return json.loads(value)


def batch(headers, value):
    """One event, rows that share a key."""
    if headers["content-type"] != "application/vnd.apache.arrow.stream":
        raise ValueError(f"{headers['ce_id']}: expected an Arrow stream, got {headers['content-type']}")
    return pa.ipc.open_stream(value).read_all()


def main(address):
    datasets = {}
    for headers, key, value in read(address, "rollout.requested"):
        try:
            datasets[key] = fact(headers, value)["start"]["value"]["dataset"]
        except (KeyError, ValueError) as error:
            print(f"left out: {headers['ce_source']} {headers['ce_id']}: {error}", file=sys.stderr)
    tables = []
    for headers, key, value in read(address, "tower.completions_scored"):
        rows = batch(headers, value).select(["task", "outcome", "reward"])
        tables.append(rows.append_column("dataset", pa.array([datasets[key]] * len(rows))))
    rewards = pa.concat_tables(tables).group_by(["dataset", "task", "outcome"])
    answer = rewards.aggregate([("reward", "count"), ("reward", "mean")])
    for row in answer.sort_by([(name, "ascending") for name in ("dataset", "task", "outcome")]).to_pylist():
        count, mean = row["reward_count"], row["reward_mean"]
        print(f"{row['dataset']:<12} {row['task']:<18} {row['outcome']:<14} {count:>6} {mean:>10.4f}")


main(*sys.argv[1:])
