"""Writes facts that follow an event's JSON Schema, one file each, as any producer of CloudEvents would.

usage: write_events.py kafka://HOST:PORT[/PREFIX] SCHEMA.json KEY FILE.json… [--unchecked]

SCHEMA.json is what `plumbline events TYPE --json` prints; KEY is the field that `plumbline events TYPE` calls the key.
--unchecked sends what breaks the schema, too: to see what becomes of it.
"""

import datetime
import hashlib
import json
import sys

import jsonschema
from confluent_kafka import Producer

SOURCE = "/python/write_events"


def headers_of(event_type, schema, key, value):
    """CloudEvents 1.0, Kafka protocol binding, binary mode."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    attributes = {
        "specversion": "1.0",
        # The same data is the same event, however often it is sent.
        "id": hashlib.sha256(SOURCE.encode() + b"\n" + value).hexdigest()[:32],
        "source": SOURCE,
        "type": event_type,
        "time": now.replace("+00:00", "Z"),
        "dataschema": schema["$id"],
        "subject": key,
        "partitionkey": key,
        "clock": "wall",
        # The value keeps to the schema's bounds; where it does not, it is to be refused.
        "schemarules": "1",
    }
    headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    return [*headers, ("content-type", b"application/json")]


def main(address, schema_file, key_field, *files):
    brokers, _, prefix = address.removeprefix("kafka://").partition("/")
    with open(schema_file) as file:
        schema = json.load(file)
    # plumbline:TYPE/VERSION/FINGERPRINT
    event_type = schema["$id"].removeprefix("plumbline:").split("/")[0]
    topic = f"{prefix}.{event_type}" if prefix else event_type
    # Plumbline finds a key's partition as Kafka's Java clients do; librdkafka's default is another one.
    producer = Producer(
        {"bootstrap.servers": brokers, "partitioner": "murmur2_random", "enable.idempotence": True}
    )
    failures = []
    for name in files:
        if name == "--unchecked":
            continue
        with open(name) as file:
            data = json.load(file)
        if "--unchecked" not in files:
            jsonschema.validate(data, schema)
        value = json.dumps(data).encode()
        key = data[key_field]
        producer.produce(
            topic,
            key=key,
            value=value,
            headers=headers_of(event_type, schema, key, value),
            on_delivery=lambda error, message: failures.append(error) if error is not None else None,
        )
    if producer.flush(30) > 0 or failures:
        raise SystemExit(f"{topic}: not everything was taken: {failures or 'no answer within 30 seconds'}")
    print(f"{topic}: {len(files) - files.count('--unchecked')} written")


main(*sys.argv[1:])
