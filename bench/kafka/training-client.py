"""Reads the groups of a log on Kafka. Each line of standard input is answered when it is done.

    groups ADDRESS CONSUMER BATCH EVERY    opens Groups: steps of BATCH groups, a checkpoint after EVERY steps
    bare ADDRESS                           opens a consumer of confluent-kafka, whose values pyarrow decodes
    read GROUPS                            reads so many with what was opened; answers with the completions
    close
"""

import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from plumbline import Groups

COLUMNS = ("prompt_token_ids", "token_ids", "completion_mask", "logprobs", "token_policy_version", "turn_index")
# Both have fetched so much when they are asked to read.
AHEAD_BYTES = 2**24


def touch(rows):
    """Reads every element of the columns of tokens. Returns how many completions."""
    for name in COLUMNS:
        np.sum(rows.column(name).values.to_numpy(zero_copy_only=False))
    return rows.num_rows


class OfGroups:
    def __init__(self, address, consumer, batch, every):
        self.batch, self.every = int(batch), int(every)
        self.folder = tempfile.TemporaryDirectory()
        self.groups = Groups(
            kafka=address, consumer=consumer, run="bench", batch=self.batch, prefetch_bytes=AHEAD_BYTES
        )
        self.groups.resume(self.folder.name)

    def read(self, wanted):
        rows = 0
        for step in self.groups.steps(self.batch):
            rows += sum(touch(group.table.to_batches()[0]) for group in step.groups)
            step.applied(loss=0.5)
            wanted -= len(step.groups)
            if step.number % self.every == 0 or wanted <= 0:
                self.groups.checkpoint(self.folder.name, step, weights_sha256="bench")
            if wanted <= 0:
                return rows

    def close(self):
        self.groups.close()
        self.folder.cleanup()


class Bare:
    def __init__(self, address):
        brokers, prefix = address.removeprefix("kafka://").split("/")
        topic = f"{prefix}.rollout.group_formed"
        self.consumer = Consumer(
            {
                **{"bootstrap.servers": brokers, "group.id": "bench", "isolation.level": "read_committed"},
                **{"queued.max.messages.kbytes": AHEAD_BYTES // 1024, "fetch.queue.backoff.ms": 10},
            }
        )
        partitions = self.consumer.list_topics(topic, 30).topics[topic].partitions
        self.consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])

    def read(self, wanted):
        rows = 0
        while wanted > 0:
            message = self.consumer.poll(10)
            with pa.ipc.open_stream(pa.py_buffer(message.value())) as reader:
                rows += sum(touch(batch) for batch in reader)
            wanted -= 1
        return rows

    def close(self):
        self.consumer.close()


opened = None
for line in sys.stdin:
    kind, *arguments = line.split()
    if kind == "read":
        answer = opened.read(int(arguments[0]))
    elif kind == "close":
        answer = opened.close()
    else:
        opened = {"groups": OfGroups, "bare": Bare}[kind](*arguments)
        answer = "opened"
    print(answer, flush=True)
