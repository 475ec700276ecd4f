"""
Consume, transform, produce in transactions, written by hand with confluent-kafka. Exactly once while it lives: what it
holds of unfinished groups is in memory alone, and a restart would lose it.
"""

import json
import time

from confluent_kafka import Consumer, Producer
from peers_job import BROKERS, GROUP, INPUT, MESSAGES, NAME, OUTPUT, Progress, group_of

COMMIT_SECONDS = 0.1

consumer = Consumer(
    {
        "bootstrap.servers": BROKERS,
        "group.id": NAME,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
)
producer = Producer({"bootstrap.servers": BROKERS, "transactional.id": NAME})
producer.init_transactions()
consumer.subscribe([INPUT])

progress = Progress()
pending = {}
formed = {}
in_transaction = False
committed = time.monotonic()


def commit() -> None:
    """Outputs and positions together."""
    positions = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
    producer.commit_transaction()


while progress.messages < MESSAGES:
    messages = consumer.consume(num_messages=1000, timeout=0.05)
    if messages and not in_transaction:
        producer.begin_transaction()
        in_transaction = True
    for message in messages:
        if message.error():
            raise RuntimeError(message.error())
        progress.seen()
        value = json.loads(message.value())
        key = value["key"]
        rewards = pending.setdefault(key, [])
        rewards.append(value["reward"])
        if len(rewards) == GROUP:
            group = formed.get(key, 0)
            out = json.dumps(group_of(key, group, rewards))
            producer.produce(OUTPUT, key=message.key(), value=out)
            pending[key] = []
            formed[key] = group + 1
            progress.groups += 1
    producer.poll(0)
    if in_transaction and time.monotonic() - committed >= COMMIT_SECONDS:
        commit()
        in_transaction = False
        committed = time.monotonic()

if in_transaction:
    commit()
progress.tell()
consumer.close()
