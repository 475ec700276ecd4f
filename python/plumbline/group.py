"""A group of completions, and how groups arrive: one Arrow stream for each lease."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc


class BrokenStreamError(ValueError):
    """A lease arrived incomplete, or is not one. The same request is answered with the same lease again."""


@dataclass(frozen=True)
class Leased:
    """A group without its rows: what a receipt, a release or a drop needs."""

    sequence: int
    lease: int


class Group:
    """All completions of one prompt, a row for each, as `rollout.group_formed` has them.

    The columns lie in the buffer in which their lease arrived: a group that is kept keeps the whole lease in memory.
    """

    def __init__(self, rows: pa.RecordBatch, about: dict[str, Any], lease: int) -> None:
        self.lease = lease
        self.sequence = int(about["sequence"])
        """The group's number within the consumer; it stays the same when a run resumes."""
        self.group_id = str(about["group_id"])
        self.partition = int(about["partition"])
        self.offset = int(about["offset"])
        self.policy_version_oldest: int | None = about["policy_version_oldest"]
        """Over the tokens of the group; None for scripted policies."""
        self.lineage: str | None = about["lineage"]
        self._rows = rows

    @property
    def leased(self) -> Leased:
        return Leased(self.sequence, self.lease)

    @cached_property
    def table(self) -> pa.Table:
        return pa.Table.from_batches([self._rows])

    @cached_property
    def rewards(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """[size]"""
        return np.asarray(self._rows.column("reward"), np.float64)

    @cached_property
    def advantages(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """[size], in the group's dialect; all 0 when the group has no variance."""
        return np.asarray(self._rows.column("advantage"), np.float64)

    @cached_property
    def text(self) -> list[str]:
        texts: list[str] = self._rows.column("text").to_pylist()
        return texts

    @property
    def size(self) -> int:
        return int(self._rows.num_rows)

    @property
    def origin(self) -> str:
        return str(self._first("origin"))

    @property
    def task(self) -> str:
        return str(self._first("task"))

    @property
    def purpose(self) -> str:
        """What it was asked for: train, eval or probe."""
        return str(self._first("purpose"))

    @property
    def dialect(self) -> str:
        """How the advantages are normalised."""
        return str(self._first("dialect"))

    @property
    def zero_variance(self) -> bool:
        """Whether all rewards are equal, so that the group has no gradient."""
        return bool(self._first("zero_variance"))

    @property
    def trainable(self) -> bool:
        """Whether every completion has its token ids and log-probabilities."""
        return all(self._rows.column("trainable").to_pylist())

    def _first(self, column: str) -> Any:
        return self._rows.column(column)[0].as_py()

    def __repr__(self) -> str:
        return f"<Group {self.sequence} {self.group_id} of {self.size}, lease {self.lease}>"


def groups_of_lease(stream: bytes) -> list[Group]:
    """The groups of a lease, in the order of their numbers. Raises BrokenStreamError."""
    try:
        with pa.ipc.open_stream(stream) as reader:  # type: ignore[no-untyped-call]
            metadata = reader.schema.metadata or {}
            batches = list(reader)
    except (pa.ArrowException, OSError) as error:
        raise BrokenStreamError(f"the lease is no whole Arrow stream: {error}") from error
    if b"plumbline.lease" not in metadata:
        raise BrokenStreamError("the Arrow stream has no plumbline.lease in its metadata")
    about = json.loads(metadata[b"plumbline.lease"])
    # A stream that was cut between two batches is still one to Arrow.
    if len(batches) != len(about["groups"]):
        raise BrokenStreamError(f"lease {about['lease']}: expected {len(about['groups'])} groups, got {len(batches)}")
    groups = [Group(rows, each, int(about["lease"])) for rows, each in zip(batches, about["groups"], strict=True)]
    for group in groups:
        found = group._first("group_id") if group.size > 0 else "no rows"
        if found != group.group_id:
            raise BrokenStreamError(f"lease {group.lease}: expected the rows of group {group.group_id}, got {found}")
    return groups
