"""What one rank has read and done since the last checkpoint. It is in memory alone: a crash leaves the checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from plumbline.errors import FeedError, LeaseLostError, StaleGroupsError
from plumbline.kafka.staleness import Rule
from plumbline.kafka.state import Place, numbered, place_of
from plumbline.kafka.wire import Row, now

# Inferred: many checkpoints' worth. A group that is not recorded takes about half a KiB.
MOST_UNRECORDED = 262_144


class Work:
    """Any thread may call."""

    def __init__(self, rank: int, epoch: int, step: int, rule: Rule) -> None:
        """`step` that the run resumed from."""
        self._rank, self._epoch, self._rule = rank, epoch, rule
        self._lock = threading.Lock()
        # Every matching group that was read and has no fate in the log yet.
        self._unrecorded: dict[Place, Row] = {}
        self._by_number: dict[int, Row] = {}
        # Read, and neither begun nor dropped.
        self._held: set[int] = set()
        self._dropped: dict[int, dict[str, Any]] = {}
        # Offsets whose groups left the log before they were read.
        self._expired: list[Row] = []
        # The steps that were begun with a group.
        self._begun_in: dict[int, list[int]] = {}
        self._begun: dict[str, Any] | None = None
        self._steps: list[dict[str, Any]] = []
        self._last = step

    def expect_room(self) -> None:
        if len(self._unrecorded) >= MOST_UNRECORDED:
            raise FeedError(
                "too_many_leased",
                f"rank {self._rank} has read {len(self._unrecorded)} groups since the last checkpoint, at most "
                f"{MOST_UNRECORDED}: take a checkpoint",
            )

    def read(self, row: Row, published: Mapping[str, int]) -> bool:
        """A group was read. Whether it is to be given out: one that is too old is dropped."""
        old = self._rule.too_old(published, row["policy_version_oldest"], row["lineage"])
        with self._lock:
            self._add(row)
            if old is None:
                self._held.add(row["sequence"])
            else:
                self._drop(row["sequence"], *old)
        return old is None

    def gone(self, row: Row) -> None:
        """Retention has removed the record of a group that waited under a number."""
        with self._lock:
            self._add(row)
            self._drop(row["sequence"], "expired_unread", "its record is not in the log any more")

    def expired(self, topic_id: str, partition: int, first: int, until: int) -> None:
        """Retention has removed the records at offsets `first` to `until` - 1 before any rank read them."""
        offsets = {"topic_id": topic_id, "partition": partition, "first_offset": first, "until_offset": until}
        with self._lock:
            self._expired.append(offsets)

    def release(self, sequences: Sequence[int]) -> list[int]:
        """Which of them this rank had, and had not begun."""
        with self._lock:
            released = [each for each in sequences if each in self._held]
            self._held.difference_update(released)
        return released

    def give_again(self, sequence: int) -> None:
        with self._lock:
            self._held.add(sequence)

    def drop(self, sequences: Sequence[int], reason: str, detail: str) -> int:
        with self._lock:
            for each in sequences:
                if each not in self._held and each not in self._dropped:
                    raise FeedError(
                        "used", f"group {each}: expected one that rank {self._rank} has and no step has begun", [each]
                    )
            for each in sequences:
                if each in self._held:
                    self._drop(each, reason, detail)
        return len(sequences)

    def begin(self, step: int, sequences: Sequence[int], published: Mapping[str, int]) -> None:
        """Raises StaleGroupsError, LeaseLostError or FeedError; then nothing is begun."""
        with self._lock:
            if not sequences or len(set(sequences)) != len(sequences):
                raise FeedError("invalid", "groups: expected at least one, each once")
            if self._begun is not None or step != self._last + 1:
                is_open = self._begun is not None
                expected = f"the receipt of step {self._last} first" if is_open else f"step {self._last + 1}"
                raise FeedError("out_of_order", f"rank {self._rank}: expected {expected}, got begin of step {step}")
            dropped = [each for each in sequences if each in self._dropped]
            if dropped:
                raise StaleGroupsError("stale", f"{len(dropped)} of the groups are dropped", dropped)
            used = [each for each in sequences if each not in self._by_number]
            if used:
                raise FeedError("used", f"group {used[0]} was not given out, or is durable", used)
            lost = [each for each in sequences if each not in self._held and each not in self._begun_in]
            if lost:
                raise LeaseLostError("lease_lost", f"{len(lost)} of the groups were released", lost)
            new = [each for each in sequences if each in self._held]
            self._expect_fresh(new, published)
            self._held.difference_update(new)
            for each in sequences:
                self._begun_in.setdefault(each, []).append(step)
            self._last = step
            self._begun = {
                "step": step,
                "begun_at": now(),
                # A group counts as leased when its first step begins: before that it only was read.
                "leased": [self._by_number[each] for each in new],
                "groups": list(sequences),
            }

    def _expect_fresh(self, sequences: Sequence[int], published: Mapping[str, int]) -> None:
        old = {}
        for each in sequences:
            row = self._by_number[each]
            why = self._rule.too_old(published, row["policy_version_oldest"], row["lineage"])
            if why is not None:
                old[each] = why
        for each, why in old.items():
            self._drop(each, *why)
        if old:
            _, detail = next(iter(old.values()))
            raise StaleGroupsError("stale", f"{len(old)} of the groups are dropped: {detail}", list(old))

    def applied(self, receipt: dict[str, Any]) -> None:
        """A second receipt changes nothing."""
        with self._lock:
            step = receipt["step"]
            if any(each["step"] == step for each in self._steps):
                return
            if self._begun is None or self._begun["step"] != step:
                raise FeedError(
                    "not_begun", f"rank {self._rank}: expected begin_step of step {step} before its receipt"
                )
            self._steps.append({**self._begun, "applied_at": now(), "receipt": receipt})
            self._begun = None

    def since(self, step: int | None) -> list[dict[str, Any]]:
        """What rank 0 records for this rank: one entry of plain data, or none without a step."""
        with self._lock:
            steps = [each for each in self._steps if step is None or each["step"] <= step]
            if not steps:
                return []
            last = steps[-1]["step"]
            contained = {each for one in steps for each in one["groups"]}
            drops = [each for each in self._dropped.values() if each["before"] <= last]
            done = {place_of(self._by_number[each]) for each in contained} | {place_of(each["row"]) for each in drops}
            ends: dict[int, int] = {}
            for partition, offset in done:
                ends[partition] = max(ends.get(partition, -1), offset)
            expired = list(self._expired)
            for each in expired:
                ends[each["partition"]] = max(ends.get(each["partition"], -1), each["until_offset"] - 1)
            # The log counts groups before the last recorded one as done, unless it is told that they wait.
            waiting = [
                row
                for place, row in self._unrecorded.items()
                if place not in done and place[1] < ends.get(place[0], -1)
            ]
            later = sorted(each for each in contained if self._begun_in[each][-1] > last)
            head = {"rank": self._rank, "epoch": self._epoch, "last": last}
            return [{**head, "steps": steps, "drops": drops, "expired": expired, "waiting": waiting, "later": later}]

    def recorded(self, step: int, drawn: Mapping[int, int]) -> None:
        """A checkpoint after this step is in the log; `drawn` by partition: all before this offset is."""
        with self._lock:
            self._expired = [each for each in self._expired if each["until_offset"] > drawn.get(each["partition"], 0)]
            done = [each for one in self._steps if one["step"] <= step for each in one["groups"]]
            done += [number for number, each in self._dropped.items() if each["before"] <= step]
            self._steps = [each for each in self._steps if each["step"] > step]
            for each in set(done):
                row = self._by_number.pop(each)
                del self._unrecorded[place_of(row)]
                self._begun_in.pop(each, None)
                self._dropped.pop(each, None)

    def _add(self, row: Row) -> None:
        self._unrecorded[place_of(row)] = self._by_number[row["sequence"]] = numbered(row)

    def _drop(self, sequence: int, reason: str, detail: str) -> None:
        self._held.discard(sequence)
        row = self._by_number[sequence]
        # It belongs to the checkpoint after the next step: all ranks know then which drops are in it.
        before = self._last + (0 if self._begun is not None else 1)
        self._dropped[sequence] = {"before": before, "at": now(), "reason": reason, "detail": detail, "row": row}
