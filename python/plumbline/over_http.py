"""A rank that leases from a feed over HTTP."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx

from plumbline.checkpoint import Checkpoint
from plumbline.errors import FeedError
from plumbline.feed import Feed, log
from plumbline.group import Group, Leased, groups_of_lease
from plumbline.heartbeat import Heartbeat
from plumbline.publish import FileContents, PublishedModel, publish_at
from plumbline.transport import Session, Start


class OverHttp:
    """`batch` groups are leased at a time, or fewer if they have `most_bytes`."""

    def __init__(
        self, feed: Feed, subscription: Mapping[str, Any], rank: int, world_size: int, batch: int, most_bytes: int
    ) -> None:
        self.feed = feed
        self._rank, self._world_size = rank, world_size
        self._batch, self._bytes = batch, most_bytes
        self._caller: dict[str, int] = {}
        self._heartbeat: Heartbeat | None = None
        self._request: str | None = None
        self._applied: dict[int, set[int]] = {}
        try:
            feed.call("PUT", "", subscription)
        except BaseException:
            feed.close()
            raise

    def check(self) -> None:
        self.feed.check()

    def checkpoints(self, run: str) -> list[str]:
        consumer: dict[str, Any] = self.feed.call("GET", "")
        return [each["checkpoint"] for each in consumer["checkpoints"] if each["run"] == run]

    def start(self, wanted: Start) -> Session:
        body = {
            "run": wanted.run,
            "attempt": wanted.attempt,
            "world_size": wanted.world_size,
            "resume": wanted.checkpoint,
        }
        lineage = {} if wanted.lineage is None else {"lineage": wanted.lineage}
        begun: dict[str, Any] = self.feed.call("POST", "/runs", {**body, **lineage})
        self._caller = {"epoch": int(begun["epoch"]), "rank": self._rank}
        self._heartbeat = Heartbeat(self.feed, begun["epoch"], self._rank, begun["lease_ms"])
        return Session(int(begun["epoch"]), str(begun["lineage"]), begun["checkpoint"], int(begun["step"]))

    def lease(self, wait: float) -> list[Group]:
        def read(response: httpx.Response) -> list[Group]:
            return [] if response.status_code == 204 else groups_of_lease(response.content)

        # Kept until it is answered, even if that is after `patience`: the feed may have leased groups for it.
        self._request = self._request or uuid.uuid4().hex
        wait_ms = int(wait * 1000)
        body = {"request": self._request, "groups": self._batch, "bytes": self._bytes, "wait_ms": wait_ms}
        leased = self.feed.call("POST", "/leases", {**self._caller, **body}, read=read, waits=wait, large=True)
        self._request = None
        return leased

    def release(self, leases: Mapping[int, int]) -> int:
        # By lease: a late repetition must not end one that came after it.
        named = [{"sequence": sequence, "lease": lease} for sequence, lease in leases.items()]
        return int(self._call("/releases", {"groups": named})["released"])

    def drop(self, sequences: list[int], reason: str, detail: str) -> int:
        return int(self._call("/drops", {"reason": reason, "detail": detail, "groups": sequences})["dropped"])

    def draw_of(self, group: Group) -> int:
        # By number: what was dropped before a resume is not drawn again, and counts all the same.
        return group.sequence // self._world_size

    def begin_step(self, step: int, groups: Sequence[Group | Leased]) -> None:
        leased = [{"sequence": group.sequence, "lease": group.lease} for group in groups]
        self._call("/steps", {"step": step, "groups": leased})

    def applied(self, receipt: dict[str, Any], groups: Iterable[Group | Leased]) -> None:
        self._call("/receipts", receipt)
        self._applied[receipt["step"]] = {group.sequence for group in groups}

    def since_checkpoint(self, step: int | None) -> list[Any]:
        until = math.inf if step is None else step
        return sorted({each for number, groups in self._applied.items() if number <= until for each in groups})

    def contained(self, step: int, given: list[Any] | None) -> list[int]:
        own = self.since_checkpoint(step)
        named = own if given is None else sorted({int(each) for each in given})
        forgotten = sorted(set(own).difference(named))
        if forgotten:
            raise ValueError(f"groups: this rank has also applied {forgotten} since the last checkpoint")
        return named

    def save(self, saved: Checkpoint, given: list[Any] | None) -> None:
        body = {
            "epoch": saved.epoch,
            "checkpoint": saved.checkpoint,
            "parent": saved.parent,
            "step": saved.step,
            "groups": saved.groups,
            "weights_sha256": saved.weights_sha256,
        }
        self.feed.call("POST", "/checkpoints", body, patience=math.inf)

    def checkpointed(self, checkpoint: str, step: int) -> None:
        self._applied = {each: groups for each, groups in self._applied.items() if each > step}

    def _call(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.feed.call("POST", path, {**self._caller, **body})

    def publish(self, files: Mapping[str, FileContents], model: Mapping[str, Any]) -> PublishedModel:
        return publish_at(self.feed, files, model)

    def stop(self) -> None:
        self.feed.stopping.set()

    def close(self, leases: Mapping[int, int]) -> None:
        try:
            if leases and self.feed.fenced is None:
                self.release(leases)
        except FeedError as error:
            log.warning("feed %s: leased groups wait until their leases expire: %s", self.feed.url, error)
        finally:
            if self._heartbeat is not None:
                self._heartbeat.end()
            self.feed.close()
