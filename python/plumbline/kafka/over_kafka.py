"""A rank that reads its groups from Kafka. Rank 0 alone writes, in one transaction for each start and checkpoint.

Between two checkpoints nothing is in the log: what the ranks did is in their memory, and a crash leaves the last
checkpoint. A later start fences the writer before it reads what there is, so that nothing is recorded after that.
"""

from __future__ import annotations

import base64
import math
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from plumbline.attempt import Place
from plumbline.checkpoint import Checkpoint
from plumbline.errors import CheckpointRefusedError, FeedError, FencedError, UnavailableError
from plumbline.group import Group, Leased
from plumbline.kafka.address import Address, parse_address
from plumbline.kafka.assigned import GROUP_FORMED, AssignedGroups, Topic
from plumbline.kafka.blobs import open_blobs
from plumbline.kafka.checkpoint import contained, record, sequences_in
from plumbline.kafka.decisions import Decisions
from plumbline.kafka.history import TRAINING_TYPES, History
from plumbline.kafka.kept import keep
from plumbline.kafka.published import MODEL_PUBLISHED, Published
from plumbline.kafka.recording import Recording
from plumbline.kafka.staleness import Rule
from plumbline.kafka.start import expect_joins, expect_same, start_run, subscription_of
from plumbline.kafka.state import Run
from plumbline.kafka.tail import ends_of, reader_settings, retried
from plumbline.kafka.wire import Row, now
from plumbline.kafka.work import Work
from plumbline.publish import FileContents, PublishedModel
from plumbline.transport import Session, Start

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST_LETTERS = 256
_LOOK_SECONDS = 0.1
_CALL_SECONDS = 10.0
# Inferred: far less than any optimiser step on real hardware, and more than a call to the broker.
_RECENT_SECONDS = 0.1


class OverKafka:
    def __init__(
        self, address: str, consumer: str, subscription: Mapping[str, Any], place: Place,
        *, batch: int, most_bytes: int, patience: float, blobs: str | None,
    ) -> None:  # fmt: skip
        if not _NAME.fullmatch(consumer):
            raise ValueError(f"consumer: expected lower-case letters, digits, '.', '_' and '-', got {consumer!r}")
        self._address = parse_address(address)
        self._consumer, self._rank, self._world_size = consumer, place.rank, place.world_size
        self._batch, self._bytes, self._patience = batch, most_bytes, patience
        self._blobs = open_blobs(blobs or os.environ.get("PLUMBLINE_BLOBS") or None)
        self._stopping = threading.Event()
        self._draws = 0
        self._fenced: FencedError | None = None
        self._run: Run | None = None
        self._recording: Recording | None = None
        self._published: Published | None = None
        self._history: History | None = None
        self._groups: AssignedGroups | None = None
        self._work: Work | None = None
        # What was read and not begun: a released group is given out again without being read again.
        self._given: dict[int, Group] = {}
        wanted, start = subscription_of(subscription)
        try:
            self._topic, counts = topic_counts(self._address, patience)
            if self._world_size > self._topic.partitions:
                raise ValueError(
                    f"world_size: {GROUP_FORMED} has {self._topic.partitions} partitions, each for one rank alone, got "
                    f"{self._world_size} ranks; train over HTTP, or make a pipeline with more (docs/kafka.md)"
                )
            if self._rank == 0:
                keep(self._address, (GROUP_FORMED, MODEL_PUBLISHED, *TRAINING_TYPES), patience)
            self._history = History(self._address, consumer, counts, patience)
            self._recording = Recording(self._address, consumer, self._history, patience, self._wait)
            self._published = Published(self._address, consumer, counts, patience)
            self._subscribe(wanted, start)
        except BaseException:
            self.close({})
            raise

    # The run

    def check(self) -> None:
        if self._fenced is not None:
            raise FencedError("fenced", self._fenced.message)

    def checkpoints(self, run: str) -> list[str]:
        return [saved.checkpoint for saved in self._state().checkpoints if saved.run == run]

    def start(self, wanted: Start) -> Session:
        for name in ("run", "attempt", "lineage"):
            text = getattr(wanted, name)
            if text is not None and not 1 <= len(text) <= _MOST_LETTERS:
                raise ValueError(f"{name}: expected 1 to {_MOST_LETTERS} characters, got {len(text)}")
        self._expect_topic()
        run = self._begin(wanted) if self._rank == 0 else self._join(wanted)
        self._run = run
        history = _there(self._history)
        state = history.state
        subscribed = state.subscribed()
        rule = Rule(state.lineages, run.lineage, subscribed["max_staleness"], subscribed["without_version"])
        self._work = Work(self._rank, run.epoch, run.step, rule)
        self._groups = AssignedGroups(
            self._address, self._topic, range(self._rank, self._topic.partitions, run.world_size), state, self._work,
            self._blobs, epoch=run.epoch, most_bytes=self._bytes, patience=self._patience, stopping=self._stopping,
        )  # fmt: skip
        return Session(run.epoch, run.lineage, run.checkpoint, run.step)

    def _subscribe(self, wanted: Row, start: str) -> None:
        if self._state().subscription is not None:
            return expect_same(self._state(), wanted)
        if self._rank != 0:
            self._wait("rank 0 subscribes", lambda: self._state().subscription is not None)
            return expect_same(self._state(), wanted)
        _there(self._recording).open()
        history = _there(self._history)
        # Another process may have subscribed it meanwhile.
        if history.state.subscription is not None:
            return expect_same(history.state, wanted)
        places = {"start": self._places(start), "formed_before": self._places("now")}
        decisions = Decisions(history.state)
        row = {**wanted, "topic_id": self._topic.topic_id, **places}
        decisions.add("training.consumer_subscribed", now(), row)
        self._commit(decisions, self._patience)
        return None

    def _begin(self, wanted: Start) -> Run:
        _there(self._recording).open()
        decisions = start_run(_there(self._history).state, wanted, _there(self._published).now())
        self._commit(decisions, self._patience)
        run = _there(self._history).state.run
        assert run is not None
        return run

    def _join(self, wanted: Start) -> Run:
        self._wait("rank 0 starts the run", lambda: wanted.attempt in self._state().epochs)
        run = expect_joins(_there(self._history).state, wanted)
        # Receipts are in memory: a rank that starts again within an attempt would train on the same groups again.
        name = self._address.prefixed(f"feed/{self._consumer}/ranks")
        consumer = Consumer(reader_settings(self._address, **{"group.id": name}))
        place = TopicPartition(self._address.prefixed(GROUP_FORMED), self._rank, run.epoch)
        try:
            joined = retried(
                "reading which ranks have joined", self._address, self._patience,
                lambda: consumer.committed([place], _CALL_SECONDS)[0].offset,
            )  # fmt: skip
            if joined >= run.epoch:
                raise FencedError(
                    "fenced",
                    f"consumer {self._consumer}: rank {self._rank} has joined attempt {wanted.attempt} before; "
                    "start all ranks again, under another attempt",
                )
            retried(
                "joining", self._address, self._patience,
                lambda: consumer.commit(offsets=[place], asynchronous=False),
            )  # fmt: skip
        finally:
            consumer.close()
        return run

    def _commit(self, decisions: Decisions, patience: float) -> None:
        try:
            _there(self._recording).commit(decisions, patience)
        except FencedError as error:
            self._fenced = error
            raise

    # Groups

    def lease(self, wait: float) -> list[Group]:
        # The step looks again.
        published = self._now(_RECENT_SECONDS)
        groups: list[Group] = _there(self._groups).lease(self._batch, self._bytes, wait, published)
        self._given.update((group.sequence, group) for group in groups)
        return groups

    def release(self, leases: Mapping[int, int]) -> int:
        released = _there(self._work).release(list(leases))
        _there(self._groups).release([self._given.pop(each) for each in released])
        return len(released)

    def drop(self, sequences: list[int], reason: str, detail: str) -> int:
        self._now()
        if len(detail) > 4_096:
            raise FeedError("invalid", f"detail: expected at most 4096 characters, got {len(detail)}")
        dropped = _there(self._work).drop(sequences, reason, detail)
        self._forget(sequences)
        return dropped

    def draw_of(self, _group: Group) -> int:
        # Counted: numbers have gaps, and what no checkpoint has recorded is drawn again by a resume, drops too.
        self._draws += 1
        return self._draws

    def begin_step(self, step: int, groups: Sequence[Group | Leased]) -> None:
        sequences = [group.sequence for group in groups]
        try:
            _there(self._work).begin(step, sequences, self._now())
        except FeedError as error:
            self._forget(error.groups)
            raise
        self._forget(sequences)

    def applied(self, receipt: dict[str, Any], groups: Iterable[Group | Leased]) -> None:
        # The transaction of the checkpoint decides; this is to end a process that was fenced early.
        self._now(_RECENT_SECONDS)
        for name in ("grad_norm", "tokens", "seconds"):
            if receipt[name] is not None and receipt[name] < 0:
                raise FeedError("invalid", f"{name}: expected 0 or more, got {receipt[name]}")
        _there(self._work).applied(receipt)

    def _forget(self, sequences: Iterable[int]) -> None:
        for each in sequences:
            self._given.pop(each, None)

    def _now(self, within: float = 0.0) -> dict[str, int]:
        """The models that are published. Raises FencedError once there is a later start."""
        self.check()
        try:
            return _there(self._published).now(_there(self._run).epoch, within)
        except FencedError as error:
            self._fenced = error
            raise

    # Checkpoints

    def since_checkpoint(self, step: int | None) -> list[Any]:
        return list(_there(self._work).since(step))

    def contained(self, step: int, given: list[Any] | None) -> list[int]:
        if not (self.since_checkpoint(step) if given is None else given):
            return []
        return sequences_in(self._entries(step, given))

    def save(self, saved: Checkpoint, given: list[Any] | None) -> None:
        state, run = _there(self._history).state, _there(self._run)
        expected, _ = state.parent_of(run)
        if saved.parent != expected:
            raise CheckpointRefusedError("incomplete", f"expected parent {expected}, got {saved.parent}", {})
        entries = self._entries(saved.step, given)
        while True:
            try:
                published = self._now()
                break
            except UnavailableError:
                # The files are there: only the log can tell whether the next checkpoint has them as its parent.
                if self._stopping.is_set():
                    raise
        self._commit(record(state, run, saved, entries, published), math.inf)

    def _entries(self, step: int, given: list[Any] | None) -> list[Row]:
        entries = _there(self._work).since(step) if given is None else given
        return contained(_there(self._history).state, _there(self._run), step, entries)

    def checkpointed(self, checkpoint: str, step: int) -> None:
        _there(self._work).recorded(step, _there(self._history).state.drawn)

    # Calls

    def _state(self) -> Any:
        return _there(self._history).read()

    def _places(self, where: str) -> list[Row]:
        name = self._address.prefixed(GROUP_FORMED)
        partitions = [(name, partition) for partition in range(self._topic.partitions)]
        found = ends_of(
            AdminClient(dict(self._address.settings)), self._address, partitions, self._patience,
            OffsetSpec.earliest() if where == "beginning" else OffsetSpec.latest(),
        )  # fmt: skip
        return [{"partition": partition, "offset": found[name, partition]} for _, partition in partitions]

    def _expect_topic(self) -> None:
        subscribed = self._state().subscribed()
        if subscribed["topic_id"] != self._topic.topic_id:
            raise FeedError(
                "other_topic",
                f"consumer {self._consumer}: its groups are in a topic {GROUP_FORMED} that was deleted and made again "
                f"(its id was {subscribed['topic_id']}, it is {self._topic.topic_id}); subscribe under another name",
            )
        if len(subscribed["start"]) != self._topic.partitions:
            raise FeedError(
                "other_topic",
                f"consumer {self._consumer}: {GROUP_FORMED} had {len(subscribed['start'])} partitions, and has "
                f"{self._topic.partitions}: the numbers of groups follow from the count; subscribe under another name",
            )

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + self._patience
        while not condition():
            if time.monotonic() > until or self._stopping.wait(_LOOK_SECONDS):
                raise UnavailableError(
                    "unavailable", f"consumer {self._consumer}: rank {self._rank} waited for {self._patience} s until {what}"
                )

    def publish(self, files: Mapping[str, FileContents], model: Mapping[str, Any]) -> PublishedModel:
        raise FeedError(
            "other_transport",
            "a consumer over Kafka publishes no models: its program appends model.published, in every partition",
        )

    def stop(self) -> None:
        self._stopping.set()

    def close(self, leases: Mapping[int, int]) -> None:
        """Nothing is to be given back: what has no fate in the log waits."""
        for each in (self._groups, self._published, self._history, self._recording):
            if each is not None:
                each.close()


def topic_counts(address: Address, patience: float) -> tuple[Topic, dict[str, int]]:
    """The topic of groups, and how many partitions each topic of training events has."""
    admin = AdminClient(dict(address.settings))
    names = {address.prefixed(name): name for name in (GROUP_FORMED, *TRAINING_TYPES)}

    def ask() -> dict[str, Any]:
        seconds = min(_CALL_SECONDS, max(1.0, patience))
        described = admin.describe_topics(TopicCollection(list(names)), request_timeout=seconds)
        return {names[topic]: found.result() for topic, found in described.items()}

    found = retried("looking for the topics (does the pipeline exist there?)", address, patience, ask)
    formed = found[GROUP_FORMED]
    raw = struct.pack(">qq", formed.topic_id.get_most_significant_bits(), formed.topic_id.get_least_significant_bits())
    # As the log port names it; brokers before 2.8 have none.
    topic_id = "" if raw == bytes(16) else base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return Topic(topic_id, len(formed.partitions)), {name: len(each.partitions) for name, each in found.items()}


def _there(value: Any) -> Any:
    """What a started run has. Groups starts it before it calls."""
    assert value is not None, "the run has not started"
    return value
