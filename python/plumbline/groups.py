"""The groups that one rank of a run trains on."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NoReturn, SupportsFloat

from plumbline.attempt import Place, place_of
from plumbline.checkpoint import Checkpoint, CheckpointFolder, Resumed, Weights
from plumbline.draws import Draws, WhenShort, is_unusable
from plumbline.errors import CheckpointRefusedError, FeedError, LeaseLostError, StaleGroupsError
from plumbline.feed import Feed, Verify
from plumbline.group import Group, Leased
from plumbline.leases import Leases
from plumbline.over_http import OverHttp
from plumbline.publish import FileContents, ModelRole, PublishedModel
from plumbline.step import G, Step
from plumbline.transport import Session, Start, Transport

TOKEN = "PLUMBLINE_FEED_TOKEN"
_WAIT_SECONDS = 1.0
# The thread that leases ahead asks again at once: this wait is the pause between its calls.
_SHORTEST_WAIT_SECONDS = 0.1
_CLOSING_SECONDS = 5.0


class Groups:
    """Leases groups, and records what this rank does with each. One thread uses it; docs/feed.md has what it promises.

    `consumer` is subscribed with `filter`, `start`, `order` and the other options of docs/feed.md; what is None has the
    feed's default. `purposes` is part of the filter: only groups that were asked for to train on, unless it names others.
    `batch` groups are leased at a time, or fewer if they have `prefetch_bytes`. `rank` and
    `world_size` are those of RANK and WORLD_SIZE, or 0 and 1. All ranks of one start name the same `attempt`.
    Iterating ends when no group came for `stop_when_idle` seconds; never, if that is None. A feed that is away is
    called again for `patience` seconds. `token` is that of PLUMBLINE_FEED_TOKEN, if the environment has it. `verify` is what an
    https address is checked against: True for the usual authorities, else a file of certificates or an SSLContext.

    With `kafka` instead of a URL, this host reads the groups from the broker, and needs no feed; `blobs` is then where
    large columns are: a folder, or the URL of a `blobs serve` (PLUMBLINE_BLOBS). A consumer is one or the other for good.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        kafka: str | None = None,
        blobs: str | None = None,
        consumer: str,
        run: str,
        rank: int | None = None,
        world_size: int | None = None,
        attempt: str | None = None,
        lineage: str | None = None,
        filter: Mapping[str, Any] | None = None,
        purposes: Iterable[Literal["train", "eval", "probe"]] | None = None,
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
        self._session: Session | None = None
        self._leases = Leases(self._lease)
        # The leases of the groups that were read and not begun, by sequence number.
        self._held: dict[int, int] = {}
        self._open: Step[Any] | None = None
        self._next_step = 1
        self._parent: str | None = None
        if purposes is not None:
            if isinstance(purposes, str):
                raise TypeError(f"purposes: expected a list, such as ['train'], got {purposes!r}")
            filter = {**(filter or {}), "purposes": list(purposes)}
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
        wanted = {name: value for name, value in subscription.items() if value is not None}
        if (url is None) == (kafka is None):
            raise TypeError("Groups: expected either the URL of a feed or kafka='kafka://HOST:PORT'")
        self._transport: Transport
        if url is not None:
            if blobs is not None:
                raise TypeError("blobs: a feed sends large columns itself; leave it out")
            feed = Feed(url, consumer, patience, token=token or os.environ.get(TOKEN) or None, verify=verify)
            self._transport = OverHttp(feed, wanted, self.rank, self.world_size, batch, prefetch_bytes)
        else:
            if token is not None or verify is not True:
                raise TypeError("token, verify: they are for a feed; docs/kafka.md has the variables for a broker")
            self._transport = _over_kafka(
                str(kafka), consumer, wanted, place, batch=batch, most_bytes=prefetch_bytes, patience=patience, blobs=blobs
            )

    # The run

    @property
    def epoch(self) -> int:
        return self._started().epoch

    @property
    def lineage(self) -> str:
        """In which the models of this run are to be published. A run that resumes may have another one than before."""
        return self._started().lineage

    def resume(self, path: str | os.PathLike[str]) -> Resumed:
        """Continues the run from the newest checkpoint that is recorded in the log, and that is complete in a folder.

        Every rank calls it with the same folder, before anything else. If there is no checkpoint, the run starts.
        """
        self._check_use()
        if self._session is not None:
            raise RuntimeError(f"run {self.run} has started: call resume() before anything else")
        folder = CheckpointFolder(path)
        # The log's list, not the folder's: a process may have died between the file and the receipt. What follows a
        # checkpoint leaves the list when a rank resumes from it, so that the ranks after it choose the same one.
        for name in reversed(self._transport.checkpoints(self.run)):
            saved = folder.complete(name)
            if saved is not None:
                self._begin(name)
                return folder.resumed(saved)
        self._begin(None)
        return Resumed(step=0)

    def _begin(self, checkpoint: str | None) -> Session:
        self._check_use()
        wanted = Start(self.run, self.attempt, self.world_size, checkpoint, self._wanted_lineage)
        session = self._transport.start(wanted)
        self._session = session
        self._next_step = session.step + 1
        self._parent = session.checkpoint
        return session

    def _started(self) -> Session:
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
        self._check_use()
        idle = _WAIT_SECONDS if self._idle is None else min(_WAIT_SECONDS, self._idle)
        return self._transport.lease(max(_SHORTEST_WAIT_SECONDS, idle))

    def release(self, groups: Iterable[Group | Leased | int]) -> int:
        """The groups wait again, and may be leased to this rank again. Returns how many."""
        leases: dict[int, int] = {}
        for each in groups:
            lease = each.lease if isinstance(each, (Group, Leased)) else self._held.get(each)
            if lease is not None:
                leases[_sequence(each)] = lease
        return self._release(leases)

    def _release(self, leases: Mapping[int, int]) -> int:
        self._check_use()
        self._started()
        released = self._transport.release(leases)
        self._forget(leases)
        return released

    def _forget(self, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            self._held.pop(sequence, None)

    def drop(
        self,
        groups: Iterable[Group | Leased | int],
        reason: Literal["by_consumer", "unsupported_token", "no_variance"] = "by_consumer",
        detail: str = "",
    ) -> int:
        """The groups are never trained on by this consumer, for a reason that is recorded. Returns how many."""
        self._check_use()
        self._started()
        sequences = [_sequence(group) for group in groups]
        dropped = self._transport.drop(sequences, reason, detail)
        self._forget(sequences)
        return dropped

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
        self._started()
        try:
            self._transport.begin_step(number, groups)
        except (StaleGroupsError, LeaseLostError) as error:
            self._forget(error.groups)
            raise
        self._forget(group.sequence for group in groups)
        self._next_step = number + 1
        begun = Step(number, groups, self._apply)
        self._open = begun
        return begun

    def _apply(self, step: Step[Any], receipt: dict[str, Any]) -> None:
        self._check_use()
        self._transport.applied(receipt, step.groups)
        if self._open is step:
            self._open = None

    def steps(
        self,
        batch_size: int,
        *,
        with_variance: bool = False,
        most_draws: int | None = None,
        when_short: WhenShort = "raise",
    ) -> Iterator[Step[Group]]:
        """Steps that are begun, each on `batch_size` groups. Groups that are stale by then are replaced.

        Ends like the groups do; a rest of less than `batch_size` groups waits again.

        `with_variance`: groups whose rewards are all equal are dropped as `no_variance`, and others drawn instead. When
        `most_draws` of a step have not given `batch_size` others, it begins with those that there are (`when_short` is
        "begin"), or raises NoVarianceError; it raises in any case if there is none.
        """
        draws = Draws(
            self, self._transport.draw_of, batch_size,
            with_variance=with_variance, most=most_draws, when_short=when_short,
        )  # fmt: skip
        while draws.fill(self._next_step):
            try:
                step = self.begin_step(draws.ready.values())
            except FeedError as error:
                if not is_unusable(error) or draws.ready.keys().isdisjoint(error.groups):
                    raise
                draws.leave_out(error.groups)
                continue
            draws.begun()
            try:
                yield step
            except GeneratorExit:
                if not self._closed:
                    draws.release()
                raise
            if not step.is_applied:
                raise RuntimeError(f"step {step.number} has no receipt: call its applied() before the next step")

    # Checkpoints

    def since_checkpoint(self, step: int | None = None) -> list[Any]:
        """What this rank has applied since the last checkpoint, up to `step`: what `checkpoint` needs of every rank.

        Over HTTP the sequence numbers of the groups, over Kafka the receipts of the steps. Both are plain data.
        """
        self._check_use()
        self._started()
        return self._transport.since_checkpoint(step)

    def checkpoint(
        self,
        path: str | os.PathLike[str],
        step: Step[Any] | int,
        weights: Weights | None = None,
        *,
        weights_sha256: str | None = None,
        groups: Iterable[Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Stores the weights after `step` in a folder, then records that they contain exactly these groups.

        Rank 0 calls it, with what `since_checkpoint` gave on all ranks as `groups`. `extra` is JSON. A trainer that
        stores its weights itself gives their hash only. Waits for the answer without limit: the files are there, and only the answer tells whether the next checkpoint has them as its parent. Returns the checkpoint's
        id. Raises CheckpointRefusedError.
        """
        number = step.number if isinstance(step, Step) else int(step)
        self._check_use()
        session = self._started()
        given = self._given(groups)
        named = self._transport.contained(number, given)
        if not named:
            raise ValueError(f"no group was applied since the last checkpoint up to step {number}")
        if (weights is None) == (weights_sha256 is None):
            raise TypeError("checkpoint: expected either weights or weights_sha256")
        folder = CheckpointFolder(path)
        name = f"step-{number:08}-{uuid.uuid4().hex[:12]}"
        saved = Checkpoint(
            checkpoint=name,
            parent=self._parent,
            consumer=self.consumer,
            run=self.run,
            epoch=session.epoch,
            step=number,
            groups=named,
            weights_sha256=weights_sha256 or "",
            has_weights=weights is not None,
            extra=extra or {},
        )
        saved = folder.write(saved, weights)
        try:
            self._transport.save(saved, given)
        except CheckpointRefusedError:
            folder.remove(name)
            raise
        self.checkpointed(name, number)
        return name

    def publish(
        self,
        files: Mapping[str, FileContents],
        *,
        version: int | None = None,
        role: ModelRole = "policy",
        parent: str | None = None,
        trained_on: Iterable[str] = (),
        metrics: Mapping[str, SupportsFloat] | None = None,
        manifest: Mapping[str, Any] | None = None,
    ) -> PublishedModel:
        """Publishes a model of this run, in its lineage; see `plumbline.publish`. One rank calls it.

        `version` is the number of the last step when it is left out: it must be above every one that the lineage has.
        That this run made the model, and after which step, is recorded. The token needs the role `publish`.
        """
        self._check_use()
        session = self._started()
        step = self._next_step - 1 if self._open is None else self._open.number - 1
        trained_at = {"consumer": self.consumer, "run": self.run, "epoch": session.epoch, "step": step}
        model = {
            **(manifest or {}),
            "lineage": session.lineage,
            "version": step if version is None else int(version),
            "role": role,
            "parent": parent,
            "trained_on": list(trained_on),
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "trained_at": trained_at,
        }
        return self._transport.publish(files, model)

    def checkpointed(self, checkpoint: str, step: Step[Any] | int) -> None:
        """Tells the other ranks' `Groups` that rank 0 has taken a checkpoint after `step`."""
        number = step.number if isinstance(step, Step) else int(step)
        self._parent = checkpoint
        self._transport.checkpointed(checkpoint, number)

    def _given(self, groups: Iterable[Any] | None) -> list[Any] | None:
        if self.rank != 0:
            raise RuntimeError(f"rank {self.rank}: rank 0 takes the checkpoint; call checkpointed() with its id here")
        if groups is None and self.world_size > 1:
            raise ValueError(
                f"groups: rank 0 of {self.world_size} knows only its own. Gather them: everyone = [None] * "
                f"{self.world_size}; torch.distributed.all_gather_object(everyone, groups.since_checkpoint()); "
                "checkpoint(..., groups=sum(everyone, []))"
            )
        return None if groups is None else list(groups)

    # Use

    def _check_use(self) -> None:
        if self._closed:
            raise RuntimeError("these Groups are closed")
        if os.getpid() != self._process:
            raise RuntimeError(
                "Groups were opened by another process. Each process needs a rank of its own; a DataLoader around "
                "Groups needs num_workers=0 (they read ahead in a thread), or plumbline.torch.GroupsDataset."
            )
        self._transport.check()

    def __reduce__(self) -> NoReturn:
        raise TypeError("Groups cannot be sent to another process: open them in the one that trains (num_workers=0)")

    def close(self) -> None:
        """Releases what this rank has leased and not begun. A feed that is away lets the leases expire."""
        if self._closed or os.getpid() != self._process:
            return
        self._transport.stop()
        unread = self._leases.close(_CLOSING_SECONDS)
        self._closed = True
        self._transport.close({**self._held, **{group.sequence: group.lease for group in unread}})

    def __enter__(self) -> Groups:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _over_kafka(
    address: str, consumer: str, subscription: Mapping[str, Any], place: Place, **options: Any
) -> Transport:
    try:
        from plumbline.kafka.over_kafka import OverKafka
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise ModuleNotFoundError("Groups(kafka=…) needs confluent-kafka: pip install 'plumbline[kafka]'") from error
    return OverKafka(address, consumer, subscription, place, **options)


def _sequence(group: Group | Leased | int) -> int:
    return group.sequence if isinstance(group, (Group, Leased)) else int(group)
