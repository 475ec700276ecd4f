"""What the training events of a consumer over Kafka tell. sinks/feed/consumer-state.ts is the same fold, for the feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from plumbline.errors import FeedError
from plumbline.kafka.staleness import Fork, Lineages
from plumbline.kafka.wire import Row

Place = tuple[int, int]
"""Partition and offset of a rollout.group_formed."""

GROUP_FIELDS = (
    *("sequence", "topic_id", "partition", "offset", "group_id"),
    *("policy_version_oldest", "lineage", "bytes"),
)


def place_of(row: Mapping[str, Any]) -> Place:
    return int(row["partition"]), int(row["offset"])


def numbered(row: Mapping[str, Any]) -> Row:
    """What names a group, and decides whether and how it is given out."""
    return {name: row[name] for name in GROUP_FIELDS}


@dataclass(frozen=True)
class Run:
    run: str
    epoch: int
    attempt: str
    world_size: int
    lineage: str
    checkpoint: str | None
    step: int


@dataclass(frozen=True)
class Saved:
    checkpoint: str
    parent: str | None
    run: str
    epoch: int
    step: int
    lineage: str
    policy_version: int | None
    groups: list[Row] = field(repr=False)
    """Since the parent."""


class State:
    """Only `apply` changes it. Between two transactions every group in `open` waits."""

    def __init__(self, consumer: str) -> None:
        self.consumer = consumer
        self.number = 0
        """Of the last event."""
        self.subscription: Row | None = None
        self.retired: str | None = None
        self.run: Run | None = None
        self.checkpoints: list[Saved] = []
        """Those that can be resumed, of all runs, oldest first."""
        self.gone: set[str] = set()
        """Checkpoints that cannot be resumed any more."""
        self.epochs: dict[str, int] = {}
        """By attempt."""
        self.runs: set[str] = set()
        self.saved_runs: set[str] = set()
        self.lineages = Lineages()
        self.open: dict[Place, Row] = {}
        """Groups that have a number, and are neither durable nor dropped."""
        self.drawn: dict[int, int] = {}
        """By partition: all groups before this offset have a fate, are open, or do not match."""
        self._parts: list[Row] = []
        self._folds: dict[str, Callable[[Any], None]] = {
            "training.consumer_subscribed": self._subscribe,
            "training.consumer_retired": self._retire,
            "training.run_started": self._start,
            "training.groups_leased": self._lease,
            "training.groups_dropped": self._drop,
            "training.offsets_expired": self._expire,
            "training.checkpoint_saved": self._save,
            "training.rolled_back": self._roll_back,
        }

    def apply(self, event_type: str, data: Any) -> None:
        """`data` is a row, or the rows of a batch. Types that change nothing here may come without their rows."""
        fold = self._folds.get(event_type)
        if fold is not None:
            fold(data)
        self.number += 1

    def copy(self) -> State:
        """One that changes by itself. What it shares with this one is never changed."""
        other = State(self.consumer)
        mine = {name: value for name, value in vars(self).items() if name != "_folds"}
        other.__dict__.update({name: _copied(value) for name, value in mine.items()})
        return other

    def needs(self, event_type: str) -> bool:
        return event_type in self._folds

    def subscribed(self) -> Row:
        """Raises FeedError unless the consumer has subscribed over Kafka, and has not retired."""
        if self.subscription is None:
            raise FeedError("unknown_consumer", f"consumer {self.consumer}: expected a subscription, found none")
        if self.subscription["transport"] != "kafka":
            raise FeedError(
                "other_transport",
                f"consumer {self.consumer}: subscribed over HTTP, got a start over Kafka; "
                "train with Groups(URL), or subscribe another name",
            )
        if self.retired is not None:
            raise FeedError("retired", f"consumer {self.consumer} has retired: {self.retired}")
        return self.subscription

    def parent_of(self, run: Run) -> tuple[str | None, int]:
        """The last checkpoint of this epoch, or the one that the run resumed from, and its step."""
        for saved in reversed(self.checkpoints):
            if saved.run == run.run and saved.epoch == run.epoch:
                return saved.checkpoint, saved.step
        return run.checkpoint, run.step

    def first_unfinished(self, partition: int) -> int:
        """Where a reader of the partition goes on."""
        waiting = [offset for at, offset in self.open if at == partition]
        return min([*waiting, self.drawn.get(partition, 0)])

    def _subscribe(self, row: Row) -> None:
        self.subscription = row
        for each in row["start"]:
            self.drawn[each["partition"]] = each["offset"]

    def _retire(self, row: Row) -> None:
        self.retired = row["reason"]

    def _start(self, row: Row) -> None:
        names = ("run", "epoch", "attempt", "world_size", "lineage", "checkpoint", "step")
        self.run = Run(**{name: row[name] for name in names})
        self.epochs[row["attempt"]] = row["epoch"]
        self.runs.add(row["run"])
        fork = row["forked_from"]
        self.lineages.add(row["lineage"], None if fork is None else Fork(fork["lineage"], fork["version"]))
        undone = after(self.checkpoints, self.run)
        # The events that tell so may become visible after this one.
        for saved in undone:
            self.open.update((place_of(group), group) for group in saved.groups)
        self._keep([saved for saved in self.checkpoints if saved not in undone])

    def _lease(self, rows: list[Row]) -> None:
        for row in rows:
            self.open[place_of(row)] = numbered(row)
            self._draw(row)

    def _drop(self, rows: list[Row]) -> None:
        for row in rows:
            self.open.pop(place_of(row), None)
            self._draw(row)

    def _expire(self, row: Row) -> None:
        self.drawn[row["partition"]] = max(self.drawn.get(row["partition"], 0), row["until_offset"])

    def _save(self, rows: list[Row]) -> None:
        self._parts.extend(self.open.pop(place_of(row)) for row in rows)
        first = rows[0]
        if len(self._parts) < first["groups"]:
            return
        lineage = "" if self.run is None else self.run.lineage
        names = ("checkpoint", "parent", "run", "epoch", "step", "policy_version")
        saved = Saved(**{name: first[name] for name in names}, lineage=lineage, groups=self._parts)
        self._parts = []
        self.saved_runs.add(saved.run)
        most = (self.subscription or {}).get("keep_checkpoints", 1)
        of_run = [each for each in [*self.checkpoints, saved] if each.run == saved.run]
        too_many = of_run[:-most]
        self._keep([each for each in [*self.checkpoints, saved] if each not in too_many])

    def _roll_back(self, rows: list[Row]) -> None:
        for row in rows:
            self.open[place_of(row)] = numbered(row)

    def _draw(self, row: Row) -> None:
        partition, offset = place_of(row)
        self.drawn[partition] = max(self.drawn.get(partition, 0), offset + 1)

    def _keep(self, kept: list[Saved]) -> None:
        names = {saved.checkpoint for saved in kept}
        self.gone.update(saved.checkpoint for saved in self.checkpoints if saved.checkpoint not in names)
        self.checkpoints = kept


def after(checkpoints: list[Saved], run: Run) -> list[Saved]:
    """The checkpoints of a run that a start of it undoes: those after the one that it resumes from."""
    names = [saved.checkpoint for saved in checkpoints]
    if run.checkpoint is None or run.checkpoint not in names:
        return []
    at = names.index(run.checkpoint)
    return [saved for saved in checkpoints[at + 1 :] if saved.run == run.run]


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list, set, Lineages)) else value
