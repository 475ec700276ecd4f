"""What trainers over Kafka do on a real broker, for over-kafka.kafka.test.ts: over_kafka_scenarios.py NAME ADDRESS FOLDER.

Each scenario prints one line of JSON. An assertion that fails ends it with a traceback.
"""

import faulthandler
import json
import sys

import numpy as np

import plumbline

WEIGHTS = {"w": np.zeros(2, np.float32)}


class Trainer:
    """Ranks in one process, which take their steps together."""

    def __init__(self, address, folder, attempt, ranks=1, **options):
        self.folder = folder
        self.ranks = [
            plumbline.Groups(
                kafka=address, consumer="lab", run="r1", rank=rank, world_size=ranks, attempt=attempt,
                stop_when_idle=0.5, patience=60, **options,
            )  # fmt: skip
            for rank in range(ranks)
        ]
        self.step = [groups.resume(folder).step for groups in self.ranks][0]

    def train(self, steps, batch):
        """The groups of each rank."""
        taken = [[] for _ in self.ranks]
        for _ in range(steps):
            begun = []
            for groups in self.ranks:
                several = [next(groups) for _ in range(batch)]
                begun.append(groups.begin_step(several))
            for step, of_rank in zip(begun, taken, strict=True):
                step.applied(loss=0.5, tokens=7)
                of_rank += step.groups
            self.step = begun[0].number
        return taken

    def rest(self):
        """One rank trains on all that is left."""
        [groups] = self.ranks
        left = list(groups)
        if left:
            groups.begin_step(left).applied()
            self.step += 1
        return left

    def save(self):
        given = [each for groups in self.ranks for each in groups.since_checkpoint()]
        first, *others = self.ranks
        name = first.checkpoint(self.folder, self.step, WEIGHTS, groups=given)
        for groups in others:
            groups.checkpointed(name, self.step)
        return name

    def close(self):
        for groups in self.ranks:
            groups.close()


def places(groups):
    return [(group.partition, group.offset) for group in groups]


def refused(kind, call, code=None):
    try:
        call()
    except kind as error:
        assert code is None or error.code == code, error
        return str(error)
    raise AssertionError(f"expected {kind.__name__}")


def once(address, folder):
    two = Trainer(address, folder, "a", ranks=2)
    first, second = two.train(steps=2, batch=3)
    assert {group.partition % 2 for group in first} == {0} and {group.partition % 2 for group in second} == {1}
    for of_rank in (first, second):
        assert places(of_rank) != [] and all(
            [at for at in places(of_rank) if at[0] == partition] == sorted(at for at in places(of_rank) if at[0] == partition)
            for partition in range(4)
        )
    two.save()
    # After the checkpoint, and lost.
    two.train(steps=1, batch=2)
    two.close()
    three = Trainer(address, folder, "b", ranks=3)
    assert three.step == 2
    more = [group for of_rank in three.train(steps=1, batch=2) for group in of_rank]
    three.save()
    three.close()
    one = Trainer(address, folder, "c")
    left = one.rest()
    last = one.save()
    one.close()
    trained = places([*first, *second, *more, *left])
    assert len(set(trained)) == len(trained), "a group came twice"
    return {"trained": sorted(trained), "checkpoint": last}


def fenced(address, folder):
    older = Trainer(address, folder, "a")
    older.train(steps=1, batch=2)
    older.save()
    groups = older.ranks[0]
    begun = groups.begin_step([next(groups), next(groups)])
    later = Trainer(address, folder, "b")
    assert later.ranks[0].epoch == groups.epoch + 1
    refused(plumbline.FencedError, lambda: begun.applied())
    refused(plumbline.FencedError, lambda: next(groups))
    later.train(steps=1, batch=2)
    kept = later.save()

    # A process that looked just before the later start began: its transaction is refused.
    newest = Trainer(address, folder, "c")
    transport = later.ranks[0]._transport
    transport._now = lambda _within=0: {}
    later.train(steps=1, batch=2)
    message = refused(plumbline.FencedError, later.save, "fenced")
    for trainer in (older, later, newest):
        trainer.close()
    return {"message": message, "checkpoint": kept}


def refused_http(address, _folder):
    def open_it():
        plumbline.Groups(kafka=address, consumer="over-http", run="r1", patience=30)

    return {"message": refused(plumbline.FeedError, open_it, "other_transport")}


def resubscribed(address, folder):
    trainer = Trainer(address, folder, "a", max_staleness=1)
    trainer.close()
    return {"message": refused(plumbline.FeedError, lambda: Trainer(address, folder, "b"), "already_subscribed")}


def stale(address, folder):
    """Run twice: models are published in between."""
    trainer = Trainer(address, folder, sys.argv[4], max_staleness=1)
    left = trainer.rest()
    trainer.save()
    trainer.close()
    return {"trained": sorted(group.group_id for group in left)}


def rolled_back(address, folder):
    trainer = Trainer(address, folder, "a")
    kept = trainer.train(steps=1, batch=2)[0]
    first = trainer.save()
    undone = trainer.train(steps=1, batch=3)[0]
    second = trainer.save()
    trainer.close()
    for suffix in ("json", "safetensors"):
        (folder / f"{second}.{suffix}").unlink()
    again = Trainer(address, folder, "b")
    assert again.ranks[0]._parent == first and again.step == 1
    left = again.rest()
    assert set(places(undone)) <= set(places(left)) and not set(places(kept)) & set(places(left))
    last = again.save()
    again.close()
    return {"trained": sorted(places([*kept, *left])), "checkpoint": last}


def joined_twice(address, folder):
    two = Trainer(address, folder, "a", ranks=2)

    def join_again():
        with plumbline.Groups(
            kafka=address, consumer="lab", run="r1", rank=1, world_size=2, attempt="a", patience=30
        ) as groups:
            groups.resume(folder)

    message = refused(plumbline.FencedError, join_again, "fenced")
    two.close()
    return {"message": message}


def retired(address, folder):
    trainer = Trainer(address, folder, "a")
    kept = trainer.train(steps=1, batch=2)[0]
    trainer.save()
    trainer.train(steps=1, batch=2)
    for _ in range(2):
        plumbline.retire(kafka=address, consumer="lab", reason="it has learned enough", patience=60)
    lost = refused(plumbline.FencedError, trainer.save, "fenced")
    trainer.close()
    again = refused(plumbline.FeedError, lambda: Trainer(address, folder, "b"), "retired")
    refused(
        plumbline.FeedError, lambda: plumbline.retire(kafka=address, consumer="nobody", patience=60), "unknown_consumer"
    )
    return {"kept": sorted(places(kept)), "lost": lost, "again": again}


def retire_http(address, _folder):
    def end():
        plumbline.retire(kafka=address, consumer="over-http", patience=60)

    return {"message": refused(plumbline.FeedError, end, "other_transport")}


def restarted(address, folder):
    """Trains while the broker restarts: a file tells each step, another one when to end. Told where it hangs, if it does."""
    faulthandler.dump_traceback_later(380, exit=True)
    trainer = Trainer(address, folder, "a", ranks=2)
    trained = []
    while not (folder / "over").exists():
        trained += [group for of_rank in trainer.train(steps=1, batch=1) for group in of_rank]
        last = trainer.save()
        (folder / "step").write_text(str(trainer.step))
    trainer.close()
    assert len(set(places(trained))) == len(trained), "a group came twice"
    return {"trained": sorted(places(trained)), "checkpoint": last, "step": trainer.step}


def one_step(address, folder):
    trainer = Trainer(address, folder, "first")
    [taken] = trainer.train(1, 2)
    trainer.save()
    trainer.close()
    return {"trained": places(taken)}


def the_rest(address, folder):
    trainer = Trainer(address, folder, "second")
    left = trainer.rest()
    trainer.save()
    trainer.close()
    return {"trained": places(left)}


def dynamic(address, folder):
    """Steps of groups with variance: a start is lost before its second checkpoint, and the next one resumes."""

    def steps_of(attempt, until):
        with plumbline.Groups(
            kafka=address, consumer="lab", run="r1", attempt=attempt, stop_when_idle=0.5, patience=60
        ) as groups:
            groups.resume(folder)
            trained = {}
            for step in groups.steps(2, with_variance=True, most_draws=4, when_short="begin"):
                assert not any(group.zero_variance for group in step.groups)
                trained[step.number] = places(step.groups)
                step.applied()
                if step.number == until:
                    break
                if until is None or step.number < until - 1:
                    groups.checkpoint(folder, step, WEIGHTS)
            return trained

    lost = steps_of("a", 4)
    rest = steps_of("b", None)
    # 2 is the last checkpoint; a rest that is no whole step waits.
    assert list(lost) == [1, 2, 3, 4] and min(rest) == 3, (lost, rest)
    kept = {step: lost[step] for step in (1, 2)} | rest
    trained = [place for step in kept.values() for place in step]
    assert len(set(trained)) == len(trained), "a group came twice"
    return {"trained": sorted(trained)}


def large(address, folder):
    with plumbline.Groups(
        kafka=address, consumer="lab", run="r1", stop_when_idle=0.5, blobs=str(folder / "blobs")
    ) as groups:
        return {"tokens": [len(ids) for group in groups for ids in group.table.column("token_ids").to_pylist()]}


if __name__ == "__main__":
    from pathlib import Path

    scenario, log, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    print(json.dumps(globals()[scenario](log, place)))
