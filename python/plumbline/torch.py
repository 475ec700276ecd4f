"""Groups as torch tensors, and as a dataset for a `DataLoader`. Imports torch; nothing else in the package does.

    dataset = GroupsDataset(groups, batch_size=16)
    for batch in DataLoader(dataset, batch_size=None):
        step = groups.begin_step(batch.groups)
        ...  # forward and backward of batch.tensors, optimizer.step()
        step.applied()
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from plumbline import batch
from plumbline.group import Group, Leased
from plumbline.groups import Groups

Tensors = dict[str, torch.Tensor]
Collate = Callable[[list[Group]], Any]

_READ = "GroupsDataset was read before: make another one of the same Groups to go on"


def pad(
    groups: Group | Iterable[Group],
    side: Literal["right", "left"] = "right",
    pad_id: int = 0,
    *,
    prompts: bool = True,
) -> Tensors:
    """`plumbline.pad` as tensors: the same names, shapes and types (int64, float32, bool), on the CPU.

    Raises NotTrainableError where token ids or log-probabilities are missing.
    """
    return _tensors(batch.pad(groups, side, pad_id, prompts=prompts))


def pack(groups: Group | Iterable[Group], *, prompts: bool = True) -> Tensors:
    """`plumbline.pack` as tensors: the same names, shapes and types, on the CPU.

    `cu_seqlens` [B + 1] int32 is what kernels of variable length take, `position_ids` [N] int64 begins at 0 in each
    sequence. Raises NotTrainableError where token ids or log-probabilities are missing.
    """
    return _tensors(batch.pack(groups, prompts=prompts))


def _tensors(arrays: batch.Arrays) -> Tensors:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@dataclass(frozen=True)
class Batch:
    """What one optimiser step is taken on."""

    groups: tuple[Leased, ...]
    """For `Groups.begin_step`, `release` and `drop`, in the order of their sequence numbers."""
    tensors: Any
    """What `collate` returned."""

    def pin_memory(self) -> Batch:
        """Called by a DataLoader with `pin_memory=True`."""
        if not isinstance(self.tensors, dict):
            return self
        pinned = {name: one.pin_memory() if torch.is_tensor(one) else one for name, one in self.tensors.items()}
        return replace(self, tensors=pinned)


class GroupsDataset(IterableDataset[Batch]):
    """Batches of `batch_size` groups, each made by `collate` (default: `pad`), for a DataLoader with `batch_size=None`.

    With `num_workers=0` all of it runs in the training process. With `num_workers=N`, given here and to the DataLoader,
    worker processes run `collate`, and nothing else: decoding pictures, tokenising, padding.

    - The training process leases, keeps the leases alive, begins steps and sends receipts. A worker has no connection
      to the feed and cannot ask it for anything, so no group can be leased twice for being read by two processes.
    - Each batch of groups goes to exactly one worker, which asks for it. Workers are served in turn, as a DataLoader
      reads them, so that batches arrive in the order of the sequence numbers, whatever N is.
    - At most `prefetch_factor` · N batches are with the workers. They stay leased to this rank, like those in hand.
    - If a worker dies, the DataLoader raises. Nothing is lost: `groups.close()` releases what was not begun, and so
      does the end of the lease if the training process dies as well.
    - Workers have to be started with `multiprocessing_context="spawn"` (or "forkserver"). Forked ones would inherit the
      feed's connection and the locks of its threads, and are refused.
    - One dataset is read once: groups are a stream, and a second pass would begin where the first one was left. Make
      another dataset of the same `groups` to go on.
    - A rest of less than `batch_size` groups is released at the end, as `Groups.steps` does.

    `collate` gets a list of groups and returns what pickles; with workers it has to be importable (no lambda).
    """

    def __init__(
        self, groups: Groups, batch_size: int, collate: Collate = pad, num_workers: int = 0
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1 group, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"num_workers: expected 0 or more, got {num_workers}")
        self._groups: Groups | None = groups
        self._process = os.getpid()
        self._batch_size, self._collate, self._num_workers = batch_size, collate, num_workers
        self._is_read = False
        self._sent = 0
        self._links: list[tuple[Connection, Connection]] = []
        if num_workers > 0:
            spawning = torch.multiprocessing.get_context("spawn")
            # A worker gets a copy of its end when it is started.
            self._links = [spawning.Pipe() for _ in range(num_workers)]
            serving = threading.Thread(target=self._serve, args=(groups,), name="plumbline-dataset", daemon=True)
            serving.start()

    def __getstate__(self) -> dict[str, Any]:
        if self._num_workers == 0:
            raise TypeError(
                "GroupsDataset was made for num_workers=0 and cannot be sent to a worker: give num_workers to it as "
                "well as to the DataLoader"
            )
        # A DataLoader sends it once to each worker it starts.
        self._sent += 1
        if self._sent > self._num_workers:
            raise RuntimeError(_READ)
        theirs = [(None, theirs) for _, theirs in self._links]
        return {**self.__dict__, "_groups": None, "_links": theirs}

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            yield from self._here()
            return
        if self._groups is not None:
            raise RuntimeError(
                "the worker was forked, and shares the feed's connection with the training process: give the DataLoader "
                "multiprocessing_context='spawn', and num_workers to GroupsDataset as well"
            )
        if worker.num_workers != self._num_workers:
            raise RuntimeError(
                f"GroupsDataset was made for num_workers={self._num_workers}, the DataLoader has {worker.num_workers}"
            )
        yield from self._in_worker(self._links[worker.id][1])

    def _here(self) -> Iterator[Batch]:
        if self._groups is None or os.getpid() != self._process:
            raise RuntimeError("GroupsDataset is read by the process that opened the Groups, or by DataLoader workers")
        if self._num_workers > 0:
            raise RuntimeError(f"GroupsDataset was made for num_workers={self._num_workers}, the DataLoader has 0")
        self._once()
        for groups in self._batches(self._groups):
            yield self._made(groups)

    def _in_worker(self, feed: Connection) -> Iterator[Batch]:
        while True:
            feed.send("next")
            answer = feed.recv()
            if isinstance(answer, RuntimeError):
                raise answer
            if answer is None:
                return
            yield self._made(answer)

    def _made(self, groups: list[Group]) -> Batch:
        return Batch(tuple(group.leased for group in groups), self._collate(groups))

    def _once(self) -> None:
        if self._is_read:
            raise RuntimeError(_READ)
        self._is_read = True

    def _batches(self, groups: Groups) -> Iterator[list[Group]]:
        while True:
            # By number: a group whose lease has ended meanwhile may be leased again.
            ready: dict[int, Group] = {}
            for group in groups:
                ready[group.sequence] = group
                if len(ready) == self._batch_size:
                    break
            if len(ready) < self._batch_size:
                if ready:
                    groups.release(ready)
                return
            yield [ready[sequence] for sequence in sorted(ready)]

    def _serve(self, groups: Groups) -> None:
        """Answers workers in turn: batch k goes to worker k mod N. Ends when each was told the end, or an error."""
        batches = self._batches(groups)
        waiting = [ours for ours, _ in self._links]
        answer: list[Group] | RuntimeError | None
        turn = 0
        while waiting:
            worker = waiting[turn % len(waiting)]
            worker.recv()
            try:
                answer = next(batches, None)
            except Exception as error:
                # By its words: not every exception can be sent to another process.
                answer = RuntimeError(f"{type(error).__name__}: {error}")
            worker.send(answer)
            if isinstance(answer, list):
                turn += 1
            else:
                waiting.remove(worker)
                turn = 0
