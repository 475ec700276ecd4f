"""How a rank reaches its groups and records what it did with them: over HTTP, or over Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plumbline.checkpoint import Checkpoint
from plumbline.group import Group, Leased
from plumbline.publish import FileContents, PublishedModel


@dataclass(frozen=True)
class Start:
    """A start of a run, as every rank of it names it."""

    run: str
    attempt: str
    world_size: int
    checkpoint: str | None
    lineage: str | None


@dataclass(frozen=True)
class Session:
    """What a start begins."""

    epoch: int
    lineage: str
    checkpoint: str | None
    step: int
    """Of the checkpoint; 0 without one."""


class Transport(Protocol):
    """One rank of one consumer. `lease` is called from a thread of its own, everything else from one other thread.

    Every method may raise FeedError, and UnavailableError after `patience`; what was refused had no effect.
    """

    def check(self) -> None:
        """Raises FencedError once a later start was seen."""

    def checkpoints(self, run: str) -> list[str]:
        """Those of the run that can be resumed, oldest first."""

    def start(self, wanted: Start) -> Session: ...

    def lease(self, wait: float) -> list[Group]:
        """The next groups; none after about `wait` seconds without one."""

    def release(self, leases: Mapping[int, int]) -> int:
        """Gives groups back that were not begun, by sequence number and lease. Returns how many wait again."""

    def drop(self, sequences: list[int], reason: str, detail: str) -> int: ...

    def draw_of(self, group: Group) -> int:
        """Which draw of this rank a group is: the same after a resume, or counted in the same order."""

    def begin_step(self, step: int, groups: Sequence[Group | Leased]) -> None: ...

    def applied(self, receipt: dict[str, Any], groups: Iterable[Group | Leased]) -> None: ...

    def since_checkpoint(self, step: int | None) -> list[Any]:
        """What rank 0 needs of this rank for a checkpoint after `step`, or after the last one: plain data."""

    def contained(self, step: int, given: list[Any] | None) -> list[int]:
        """The sequence numbers of a checkpoint, from what all ranks gave; None: there is only this one."""

    def save(self, saved: Checkpoint, given: list[Any] | None) -> None:
        """Records a checkpoint whose files are stored. Waits for the answer without limit."""

    def checkpointed(self, checkpoint: str, step: int) -> None:
        """A checkpoint was recorded, by this rank or by rank 0."""

    def publish(self, files: Mapping[str, FileContents], model: Mapping[str, Any]) -> PublishedModel: ...

    def stop(self) -> None:
        """Calls that wait end soon."""

    def close(self, leases: Mapping[int, int]) -> None:
        """Gives back what was leased and not begun. Does not raise when that fails."""
