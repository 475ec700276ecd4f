"""The groups that one rank of a run trains on."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NoReturn, TypeVar

import httpx

from plumbline.attempt import place_of
from plumbline.checkpoint import Checkpoint, CheckpointFolder, Resumed, Weights
from plumbline.errors import CheckpointRefusedError, FeedError, LeaseLostError, StaleGroupsError
from plumbline.feed import Feed, Verify, json_of, log
from plumbline.group import Group, Leased, groups_of_lease
from plumbline.heartbeat import Heartbeat
from plumbline.leases import Leases
from plumbline.step import G, Step

T = TypeVar("T")

TOKEN = "PLUMBLINE_FEED_TOKEN"
_WAIT_MS = 1_000
# The thread that leases ahead asks again at once: the feed's wait is the pause between its calls.
_SHORTEST_WAIT_MS = 100
_CLOSING_SECONDS = 5.0


class Groups:
    """Leases groups, and records what this rank does with each. One thread uses it; docs/feed.md has what it promises.

    `consumer` is subscribed with `filter`, `start`, `order` and the other options of docs/feed.md; what is None has the
    feed's default. `batch` groups are leased at a time, or fewer if they have `prefetch_bytes`. `rank` and
    `world_size` are those of RANK and WORLD_SIZE, or 0 and 1. All ranks of one start name the same `attempt`.
    Iterating ends when no group came for `stop_when_idle` seconds; never, if that is None. A feed that is away is
    called again for `patience` seconds. `token` is that of PLUMBLINE_FEED_TOKEN, if the environment has it. `verify` is what an
    https address is checked against: True for the usual authorities, else a file of certificates or an SSLContext.
    """

    def __init__(
        self,
        url: str,
        *,
        consumer: str,
        run: str,
        rank: int | None = None,
        world_size: int | None = None,
        attempt: str | None = None,
        lineage: str | None = None,
        filter: Mapping[str, Any] | None = None,
        start: Literal["beginning", "now"] | None = None,
        order: Literal["arrival", "shuffled"] | None = None,
        order_seed: str | None = None,
        order_window: int | None = None,
        max_staleness: int | None = None,
        without_version: Literal["until_published", "always"] | None = None,
        lease_ms: int | None = None,
        keep_checkpoints: int | None = None,
        batch: int = 16,
        prefetch_bytes: int = 64 * 1024 * 1024,
        stop_when_idle: float | None = None,
        patience: float = 300.0,
        token: str | None = None,
        verify: Verify = True,
    ) -> None:
        place = place_of(os.environ, rank, world_size, attempt)
        self.consumer, self.run = consumer, run
        self.rank, self.world_size, self.attempt = place.rank, place.world_size, place.attempt
        self._wanted_lineage = lineage
        self._batch, self._bytes, self._idle = batch, prefetch_bytes, stop_when_idle
        self._process = os.getpid()
        self._closed = False
        self._session: dict[str, Any] | None = None
        self._heartbeat: Heartbeat | None = None
        self._leases = Leases(self._lease)
        self._request: str | None = None
        # The leases of the groups that were read and not begun, by sequence number.
        self._held: dict[int, int] = {}
        self._open: Step[Any] | None = None
        self._next_step = 1
        self._parent: str | None = None
        self._applied: dict[int, set[int]] = {}
        subscription = {
            "filter": filter,
            "start": start,
            "order": order,
            "order_seed": order_seed,
            "order_window": order_window,
            "max_staleness": max_staleness,
            "without_version": without_version,
            "lease_ms": lease_ms,
            "keep_checkpoints": keep_checkpoints,
        }
        self._feed = Feed(url, consumer, patience, token=token or os.environ.get(TOKEN) or None, verify=verify)
        try:
            self._feed.call("PUT", "", {name: value for name, value in subscription.items() if value is not None})
        except BaseException:
            self._feed.close()
            raise

    # The run

    @property
    def epoch(self) -> int:
        return int(self._started()["epoch"])

    @property
    def lineage(self) -> str:
        """In which the models of this run are to be published. A run that resumes may have another one than before."""
        return str(self._started()["lineage"])

    def resume(self, path: str | os.PathLike[str]) -> Resumed:
        """Continues the run from the newest checkpoint that the feed has recorded, and that is complete in a folder.

        Every rank calls it with the same folder, before anything else. If there is no checkpoint, the run starts.
        """
        self._check_use()
        if self._session is not None:
            raise RuntimeError(f"run {self.run} has started: call resume() before anything else")
        folder = CheckpointFolder(path)
        # The feed's list, not the folder's: a process may have died between the file and the receipt. What follows a
        # checkpoint leaves the list when a rank resumes from it, so that the ranks after it choose the same one.
        consumer: dict[str, Any] = self._feed.call("GET", "")
        names = [each["checkpoint"] for each in consumer["checkpoints"] if each["run"] == self.run]
        for name in reversed(names):
            saved = folder.complete(name)
            if saved is not None:
                self._begin(name)
                return folder.resumed(saved)
        self._begin(None)
        return Resumed(step=0)

    def _begin(self, checkpoint: str | None) -> dict[str, Any]:
        body = {"run": self.run, "attempt": self.attempt, "world_size": self.world_size, "resume": checkpoint}
        lineage = {} if self._wanted_lineage is None else {"lineage": self._wanted_lineage}
        session: dict[str, Any] = self._call("/runs", {**body, **lineage})
        self._session = session
        self._next_step = int(session["step"]) + 1
        self._parent = session["checkpoint"]
        self._heartbeat = Heartbeat(self._feed, session["epoch"], self.rank, session["lease_ms"])
        return session

    def _started(self) -> dict[str, Any]:
        if self._session is not None:
            return self._session
        return self._begin(None)

    # Groups

    def __iter__(self) -> Iterator[Group]:
        return self

    def __next__(self) -> Group:
        self._check_use()
        self._started()
        group = self._leases.next(self._idle)
        if group is None:
            raise StopIteration
        self._held[group.sequence] = group.lease
        return group

    def _lease(self) -> list[Group]:
        wait_ms = _WAIT_MS if self._idle is None else max(_SHORTEST_WAIT_MS, min(_WAIT_MS, int(self._idle * 1000)))

        def read(response: httpx.Response) -> list[Group]:
            return [] if response.status_code == 204 else groups_of_lease(response.content)

        # Kept until it is answered, even if that is after `patience`: the feed may have leased groups for it.
        self._request = self._request or uuid.uuid4().hex
        body = {"request": self._request, "groups": self._batch, "bytes": self._bytes, "wait_ms": wait_ms}
        leased: list[Group] = self._call_as_rank("/leases", body, read=read, waits=wait_ms / 1000)
        self._request = None
        return leased

    def release(self, groups: Iterable[Group | Leased | int]) -> int:
        """The groups wait again, and may be leased to this rank again. Returns how many."""
        leases: dict[int, int] = {}
        for each in groups:
            lease = each.lease if isinstance(each, (Group, Leased)) else self._held.get(each)
            if lease is not None:
                leases[_sequence(each)] = lease
        return self._release(leases)

    def _release(self, leases: Mapping[int, int]) -> int:
        # By lease: a late repetition must not end one that came after it.
        named = [{"sequence": sequence, "lease": lease} for sequence, lease in leases.items()]
        answer = self._call_as_rank("/releases", {"groups": named})
        self._forget(leases)
        return int(answer["released"])

    def _forget(self, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            self._held.pop(sequence, None)

    def drop(
        self,
        groups: Iterable[Group | Leased | int],
        reason: Literal["by_consumer", "unsupported_token"] = "by_consumer",
        detail: str = "",
    ) -> int:
        """The groups are never trained on by this consumer, for a reason that is recorded. Returns how many."""
        sequences = _sequences(groups)
        answer = self._call_as_rank("/drops", {"reason": reason, "detail": detail, "groups": sequences})
        self._forget(sequences)
        return int(answer["dropped"])

    # Steps

    def begin_step(self, groups: Iterable[G], step: int | None = None) -> Step[G]:
        """Call it before the forward pass. `step` is the next one when it is left out.

        Raises StaleGroupsError or LeaseLostError, with the `groups` to leave out; then nothing was begun.
        """
        self._check_use()
        if self._open is not None:
            raise RuntimeError(f"step {self._open.number} is begun and has no receipt: call its applied()")
        groups = list(groups)
        number = self._next_step if step is None else int(step)
        leased = [{"sequence": group.sequence, "lease": group.lease} for group in groups]
        try:
            self._call_as_rank("/steps", {"step": number, "groups": leased})
        except (StaleGroupsError, LeaseLostError) as error:
            self._forget(error.groups)
            raise
        self._forget(group.sequence for group in groups)
        self._next_step = number + 1
        begun = Step(number, groups, self._apply)
        self._open = begun
        return begun

    def _apply(self, step: Step[Any], receipt: dict[str, Any]) -> None:
        self._call_as_rank("/receipts", receipt)
        if self._open is step:
            self._open = None
            self._applied[step.number] = {group.sequence for group in step.groups}

    def steps(self, batch_size: int) -> Iterator[Step[Group]]:
        """Steps that are begun, each on `batch_size` groups. Groups that are stale by then are replaced.

        Ends like the groups do; a rest of less than `batch_size` groups waits again.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        while True:
            # By number: a group whose lease has ended may be leased again before the step begins.
            ready: dict[int, Group] = {}
            while True:
                while len(ready) < batch_size:
                    group = next(self, None)
                    if group is None:
                        if ready:
                            self.release(ready)
                        return
                    ready[group.sequence] = group
                try:
                    step = self.begin_step(ready.values())
                    break
                except FeedError as error:
                    # `used`: its lease ended, and the feed has dropped it since.
                    unusable = isinstance(error, (StaleGroupsError, LeaseLostError)) or error.code == "used"
                    if not unusable or ready.keys().isdisjoint(error.groups):
                        raise
                    ready = {number: group for number, group in ready.items() if number not in error.groups}
            yield step
            if not step.is_applied:
                raise RuntimeError(f"step {step.number} has no receipt: call its applied() before the next step")

    # Checkpoints

    def since_checkpoint(self, step: int | None = None) -> list[int]:
        """The sequence numbers that this rank has applied since the last checkpoint, up to `step`."""
        until = math.inf if step is None else step
        return sorted({each for number, groups in self._applied.items() if number <= until for each in groups})

    def checkpoint(
        self,
        path: str | os.PathLike[str],
        step: Step[Any] | int,
        weights: Weights | None = None,
        *,
        weights_sha256: str | None = None,
        groups: Iterable[int] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Stores the weights after `step` in a folder, then records that they contain exactly these groups.

        Rank 0 calls it, with the `groups` of all ranks since the last checkpoint. `extra` is JSON. A trainer that
        stores its weights itself gives their hash only. Waits for the feed's answer without limit: the files are
        there, and only the answer tells whether the next checkpoint has them as its parent. Returns the checkpoint's
        id. Raises CheckpointRefusedError.
        """
        number = step.number if isinstance(step, Step) else int(step)
        named = self._named(number, groups)
        if (weights is None) == (weights_sha256 is None):
            raise TypeError("checkpoint: expected either weights or weights_sha256")
        session = self._started()
        folder = CheckpointFolder(path)
        name = f"step-{number:08}-{uuid.uuid4().hex[:12]}"
        saved = Checkpoint(
            checkpoint=name,
            parent=self._parent,
            consumer=self.consumer,
            run=self.run,
            epoch=session["epoch"],
            step=number,
            groups=named,
            weights_sha256=weights_sha256 or "",
            has_weights=weights is not None,
            extra=extra or {},
        )
        saved = folder.write(saved, weights)
        body = {"epoch": saved.epoch, "checkpoint": name, "parent": saved.parent, "step": number, "groups": named}
        try:
            self._call("/checkpoints", {**body, "weights_sha256": saved.weights_sha256}, patience=math.inf)
        except CheckpointRefusedError:
            folder.remove(name)
            raise
        self.checkpointed(name, number)
        return name

    def checkpointed(self, checkpoint: str, step: Step[Any] | int) -> None:
        """Tells the other ranks' `Groups` that rank 0 has taken a checkpoint after `step`."""
        number = step.number if isinstance(step, Step) else int(step)
        self._parent = checkpoint
        self._applied = {each: groups for each, groups in self._applied.items() if each > number}

    def _named(self, step: int, groups: Iterable[int] | None) -> list[int]:
        if self.rank != 0:
            raise RuntimeError(f"rank {self.rank}: rank 0 takes the checkpoint; call checkpointed() with its id here")
        own = self.since_checkpoint(step)
        if groups is None and self.world_size > 1:
            raise ValueError(
                f"groups: rank 0 of {self.world_size} knows only its own. Gather them: everyone = [None] * "
                f"{self.world_size}; torch.distributed.all_gather_object(everyone, groups.since_checkpoint()); "
                "checkpoint(..., groups=sum(everyone, []))"
            )
        named = own if groups is None else sorted({int(each) for each in groups})
        forgotten = sorted(set(own).difference(named))
        if forgotten:
            raise ValueError(f"groups: this rank has also applied {forgotten} since the last checkpoint")
        if not named:
            raise ValueError(f"no group was applied since the last checkpoint up to step {step}")
        return named

    # Calls

    def _call_as_rank(self, path: str, body: Mapping[str, Any], **options: Any) -> Any:
        session = self._started()
        return self._call(path, {"epoch": session["epoch"], "rank": self.rank, **body}, **options)

    def _call(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        read: Callable[[httpx.Response], T] = json_of,
        waits: float = 0.0,
        patience: float | None = None,
    ) -> T:
        self._check_use()
        return self._feed.call("POST", path, body, read=read, waits=waits, patience=patience)

    def _check_use(self) -> None:
        if self._closed:
            raise RuntimeError("these Groups are closed")
        if os.getpid() != self._process:
            raise RuntimeError(
                "Groups were opened by another process. Each process needs a rank of its own; a DataLoader around "
                "Groups needs num_workers=0 (they read ahead in a thread), or plumbline.torch.GroupsDataset."
            )
        self._feed.check()

    def __reduce__(self) -> NoReturn:
        raise TypeError("Groups cannot be sent to another process: open them in the one that trains (num_workers=0)")

    def close(self) -> None:
        """Releases what this rank has leased and not begun. A feed that is away lets the leases expire."""
        if self._closed or os.getpid() != self._process:
            return
        self._feed.stopping.set()
        try:
            unread = self._leases.close(_CLOSING_SECONDS)
            waiting = {**self._held, **{group.sequence: group.lease for group in unread}}
            if waiting and self._feed.fenced is None:
                self._release(waiting)
        except FeedError as error:
            log.warning("feed %s: leased groups wait until their leases expire: %s", self._feed.url, error)
        finally:
            self._closed = True
            if self._heartbeat is not None:
                self._heartbeat.end()
            self._feed.close()

    def __enter__(self) -> Groups:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sequences(groups: Iterable[Group | Leased | int]) -> list[int]:
    return [_sequence(group) for group in groups]


def _sequence(group: Group | Leased | int) -> int:
    return group.sequence if isinstance(group, (Group, Leased)) else int(group)
