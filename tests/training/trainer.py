"""One rank of a trainer whose weights tell how often each group is inside them, for the test that kills everything.

A process that the test wants dead kills itself at an exact point: before or after a call of the feed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import plumbline
from plumbline import feed

LOST = 3


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--url", help="of a feed")
    arguments.add_argument("--kafka", help="address of the log, without a feed")
    for name in ("--attempt", "--folder"):
        arguments.add_argument(name, required=True)
    for name in ("--rank", "--world-size", "--batch", "--every"):
        arguments.add_argument(name, type=int, required=True)
    arguments.add_argument("--model", help="an ONNX file that is published with every checkpoint")
    arguments.add_argument("--max-staleness", type=int, help="in steps")
    plants = ["", "old-weights", "skips-long"]
    arguments.add_argument("--plant", choices=plants, default="", help="a bug for the test to find")
    asked = arguments.parse_args()
    folder = Path(asked.folder)
    Deadly(folder / "die.json", f"rank-{asked.rank}").watch(asked)
    try:
        with plumbline.Groups(
            asked.url,
            kafka=asked.kafka,
            consumer="lab",
            run="r1",
            rank=asked.rank,
            world_size=asked.world_size,
            attempt=asked.attempt,
            batch=asked.batch,
            lease_ms=None if asked.url is None else 5_000,
            keep_checkpoints=4,
            max_staleness=asked.max_staleness,
            # Of the time before the first model.
            without_version=None if asked.max_staleness is None else "always",
            stop_when_idle=0.3,
        ) as groups:
            Rank(groups, folder, asked).train()
    except (plumbline.LeaseLostError, plumbline.FencedError) as error:
        print(f"rank {asked.rank}: {error}", flush=True)
        return LOST
    return 0


class Rank:
    def __init__(self, groups: plumbline.Groups, folder: Path, asked: argparse.Namespace) -> None:
        self.groups, self.folder, self.asked = groups, folder, asked
        self.checkpoints = folder / "checkpoints"
        self.rounds = 0
        resumed = groups.resume(self.checkpoints)
        extra = self.older() if asked.plant == "old-weights" and resumed.step > 0 else resumed.extra
        self.counts = Counter(extra.get("counts", {}))
        self.step = resumed.step
        self.say("resumed", step=self.step)

    def train(self) -> None:
        batch, every = self.asked.batch, self.asked.every
        held: list[plumbline.Group] = []
        while True:
            while len(held) < batch and (group := next(self.groups, None)) is not None:
                held.append(group)
            told = self.gather({"held": len(held), "is_over": (self.folder / "over").exists()})
            is_over = all(one["is_over"] for one in told)
            if is_over and all(one["held"] == 0 for one in told):
                break
            # Partitions may have unequal numbers of groups, and drops too: one rank trains on the rest.
            is_uneven = self.asked.kafka or self.asked.max_staleness is not None
            if is_over and is_uneven and any(one["held"] == 0 for one in told):
                break
            if not (all(one["held"] == batch for one in told) or (is_over and all(one["held"] > 0 for one in told))):
                continue
            step = self.begin(held)
            learned = [group for group in step.groups if self.asked.plant != "skips-long" or not is_long(group)]
            # As gradients are: every rank learns from the groups of all.
            for ids in self.gather([group.group_id for group in learned]):
                self.counts.update(ids)
            step.applied(loss=1 / step.number, tokens=len(held))
            self.step = step.number
            self.say("applied", step=self.step)
            held = []
            if self.step % every == 0:
                self.save()
        self.save()

    def begin(self, held: list[plumbline.Group]) -> plumbline.Step[plumbline.Group]:
        """Groups that have become too old are left out. The other ranks have begun: this one needs a group at least."""
        while True:
            try:
                return self.groups.begin_step(held)
            except plumbline.StaleGroupsError as error:
                held = [group for group in held if group.sequence not in error.groups]
            while not held and (group := next(self.groups, None)) is not None:
                held.append(group)
            if not held:
                print(f"rank {self.asked.rank}: no group is left for the step that others have begun", flush=True)
                raise SystemExit(LOST)

    def save(self) -> None:
        named = sum(self.gather(self.groups.since_checkpoint()), [])
        if not named:
            return
        saved = None
        if self.asked.rank == 0:
            names = sorted(self.counts)
            if self.asked.model is not None:
                # Before the checkpoint, so that a run that resumes from it has published this version.
                tensor = {"file": "model.onnx", "dtype": "float32", "shape": [8, 2]}
                manifest = {"inputs": [{**tensor, "name": "x"}], "outputs": [{**tensor, "name": "y"}]}
                self.groups.publish({"model.onnx": self.asked.model}, manifest=manifest)
            weights = {"counts": np.array([self.counts[name] for name in names], dtype=np.int64)}
            extra = {"counts": {name: self.counts[name] for name in names}}
            saved = self.groups.checkpoint(self.checkpoints, self.step, weights, groups=named, extra=extra)
        taken = self.gather(saved)[0]
        if self.asked.rank != 0:
            self.groups.checkpointed(taken, self.step)
        self.say("saved", step=self.step)

    def older(self) -> dict[str, Any]:
        """What the checkpoint before the last one holds, as if the files were chosen by another rule than the feed's."""
        saved = [json.loads(file.read_text()) for file in self.checkpoints.glob("*.json")]
        return sorted(saved, key=lambda one: one["step"])[-2]["extra"] if len(saved) > 1 else {}

    def gather(self, value: Any) -> list[Any]:
        """What every rank of this attempt gives, in the order of the ranks. The test ends ranks that wait in vain."""
        folder = self.folder / "gather" / self.asked.attempt
        folder.mkdir(parents=True, exist_ok=True)
        place = lambda rank: folder / f"{self.rounds}-{rank}.json"
        mine = place(self.asked.rank)
        mine.with_suffix(".part").write_text(json.dumps(value))
        mine.with_suffix(".part").rename(mine)
        given = []
        for rank in range(self.asked.world_size):
            while not place(rank).exists():
                time.sleep(0.002)
            given.append(json.loads(place(rank).read_text()))
        self.rounds += 1
        return given

    def say(self, what: str, **more: Any) -> None:
        print(json.dumps({"rank": self.asked.rank, "what": what, **more}), flush=True)


def is_long(group: plumbline.Group) -> bool:
    return max(map(len, group.text)) > 1_000


class Deadly:
    """Kills this process at the call that a file names: {"who": "rank-0", "when": "before", "path": "/receipts"}."""

    def __init__(self, order: Path, name: str) -> None:
        self.order, self.name = order, name

    def watch(self, asked: argparse.Namespace) -> None:
        if asked.kafka is None:
            self.wrap(feed.Feed, "call", lambda _method, path, *_rest, **_more: path)
            return
        from plumbline.kafka.over_kafka import OverKafka
        from plumbline.kafka.writer import Writer

        calls = {"lease": "/leases", "applied": "/receipts", "save": "/checkpoints", "start": "/runs"}
        for method, path in calls.items():
            self.wrap(OverKafka, method, lambda *_rest, path=path, **_more: path)
        # Of checkpoints and of starts.
        self.wrap(Writer, "_finish", lambda *_rest, **_more: "/commits")

    def wrap(self, owner: type, method: str, path_of: Callable[..., str]) -> None:
        call = getattr(owner, method)

        def deadly(owned: Any, *rest: Any, **more: Any) -> Any:
            path = path_of(*rest, **more)
            self.dies("before", path)
            answer = call(owned, *rest, **more)
            self.dies("after", path)
            return answer

        setattr(owner, method, deadly)

    def dies(self, when: str, path: str) -> None:
        try:
            wanted = json.loads(self.order.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return
        if wanted == {"who": self.name, "when": when, "path": path}:
            self.order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main())
