"""A consumer over Kafka in memory: what ranks do, and the state that follows from the events that record it."""

from plumbline.checkpoint import Checkpoint
from plumbline.kafka.checkpoint import contained, record, sequences_in
from plumbline.kafka.decisions import Decisions
from plumbline.kafka.staleness import Rule
from plumbline.kafka.start import start_run, subscription_of
from plumbline.kafka.state import State
from plumbline.kafka.work import Work
from plumbline.transport import Start

PARTITIONS = 2
RECEIPT = {"loss": None, "grad_norm": None, "tokens": None, "seconds": None, "metrics": {}}


def group(partition, offset, version=None, lineage=None):
    """The summary of a formed group."""
    return {
        **{"sequence": offset * PARTITIONS + partition, "topic_id": "t", "partition": partition, "offset": offset},
        **{"group_id": f"g{partition}-{offset}", "policy_version_oldest": version, "lineage": lineage, "bytes": 10},
    }


class Log:
    """The training events of one consumer."""

    def __init__(self, **subscription):
        self.state, self.published, self.attempts = State("lab"), {}, 0
        decisions = Decisions(self.state)
        whole, _ = subscription_of(subscription)
        start = [{"partition": each, "offset": 0} for each in range(PARTITIONS)]
        row = {**whole, "topic_id": "t", "start": start, "formed_before": start}
        decisions.add("training.consumer_subscribed", "2026-01-01T00:00:00.000Z", row)
        self.commit(decisions)

    def commit(self, decisions):
        for each in decisions.made:
            self.state.apply(each.event_type, each.data)

    def start(self, checkpoint=None, world_size=1, run="r1"):
        self.attempts += 1
        wanted = Start(run, f"attempt {self.attempts}", world_size, checkpoint, None)
        self.commit(start_run(self.state, wanted, self.published))
        return [Rank(self, rank) for rank in range(world_size)]

    def save(self, step, given, name):
        state, run = self.state, self.state.run
        entries = contained(state, run, step, given)
        parent, _ = state.parent_of(run)
        saved = Checkpoint(name, parent, "lab", run.run, run.epoch, step, sequences_in(entries), "sha", True)
        self.commit(record(state, run, saved, entries, self.published))


class Rank:
    def __init__(self, log, rank):
        self.log, run, wanted = log, log.state.run, log.state.subscription
        rule = Rule(log.state.lineages, run.lineage, wanted["max_staleness"], wanted["without_version"])
        self.work = Work(rank, run.epoch, run.step, rule)

    def read(self, *groups):
        return [each["sequence"] for each in groups if self.work.read(each, self.log.published)]

    def step(self, number, sequences):
        self.work.begin(number, sequences, self.log.published)
        self.work.applied({"step": number, **RECEIPT})

    def save(self, step, name):
        self.log.save(step, self.work.since(step), name)
        self.work.recorded(step, self.log.state.drawn)
