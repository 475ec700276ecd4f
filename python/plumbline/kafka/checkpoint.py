"""What a checkpoint contains, from what the ranks did; and the events that record it, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from plumbline.checkpoint import Checkpoint
from plumbline.errors import CheckpointRefusedError
from plumbline.kafka.decisions import Decisions, parts_of
from plumbline.kafka.state import Run, State
from plumbline.kafka.wire import Row, now

_PLACE = ("topic_id", "partition", "offset", "group_id")


def contained(state: State, run: Run, step: int, given: Iterable[Any]) -> list[Row]:
    """What all ranks gave, in their order, if it is whole. Raises CheckpointRefusedError with what is missing."""
    entries = list(given)
    for each in entries:
        if not isinstance(each, Mapping) or "rank" not in each or "steps" not in each:
            raise ValueError(f"groups: expected what since_checkpoint() gave on every rank, got {type(each).__name__}")
    of_epoch = {int(each["rank"]): dict(each) for each in entries if each["epoch"] == run.epoch}
    _, parent_step = state.parent_of(run)
    expected = list(range(parent_step + 1, step + 1))
    ranks = []
    for rank in range(run.world_size):
        there = {one["step"] for one in of_epoch.get(rank, {"steps": []})["steps"]}
        ranks += [{"step": number, "rank": rank} for number in expected if number not in there][:1]
    found = [of_epoch[rank] for rank in sorted(of_epoch)]
    beyond = {number for each in found for one in each["steps"] if one["step"] > step for number in one["groups"]}
    inside = {number for each in found for one in each["steps"] if one["step"] <= step for number in one["groups"]}
    later = sorted({number for each in found for number in each["later"]} | (beyond & inside))
    wrong = {"ranks": ranks, "superfluous": sorted(beyond - inside), "later": later}
    if len(found) != len(entries) or any(wrong.values()):
        raise CheckpointRefusedError(
            "incomplete",
            f"checkpoint at step {step} of epoch {run.epoch}: expected the receipts of steps {parent_step + 1} to {step} "
            f"of each of {run.world_size} ranks, once, and no group of them in a later step",
            wrong,
        )
    return found


def sequences_in(entries: Iterable[Row]) -> list[int]:
    return sorted({number for each in entries for one in each["steps"] for number in one["groups"]})


def record(
    state: State, run: Run, saved: Checkpoint, entries: list[Row], published: Mapping[str, int]
) -> Decisions:
    """The events of everything that the ranks did since the parent, and of the checkpoint."""
    decisions = Decisions(state)
    of_run = {"run": run.run, "epoch": run.epoch}
    groups: dict[int, Row] = {}
    steps = sorted(
        ((one["step"], each["rank"], one) for each in entries for one in each["steps"]), key=lambda step: step[:2]
    )
    for step, rank, one in steps:
        of_rank = {**of_run, "rank": rank}
        groups.update({row["sequence"]: row for row in one["leased"]})
        places = {number: {"sequence": number, **_place(groups[number])} for number in one["groups"]}
        # The assignment is the lease, and the epoch its fencing token.
        lease = {"lease": run.epoch, "request": f"{run.attempt}/{rank}/{step}"}
        decisions.add_rows(
            "training.groups_leased", one["begun_at"], [{**of_rank, **lease, **row} for row in one["leased"]]
        )
        begun = [{**of_rank, "step": step, "lease": run.epoch, **place} for place in places.values()]
        decisions.add_rows("training.step_begun", one["begun_at"], begun)
        applied = [{**of_rank, "step": step, **place} for place in places.values()]
        decisions.add_rows("training.groups_applied", one["applied_at"], applied)
        receipt = {**one["receipt"], "groups": len(places)}
        decisions.add("training.step_completed", one["applied_at"], {**of_rank, **receipt})
    for each in entries:
        for drop in each["drops"]:
            row = {**of_run, "reason": drop["reason"], "detail": drop["detail"], "sequence": drop["row"]["sequence"]}
            decisions.add_rows("training.groups_dropped", drop["at"], [{**row, **_place(drop["row"])}])
        # They lie before groups that have a fate: recorded as numbered, so that a resume gives them out.
        waits = {**of_run, "rank": each["rank"], "lease": None, "request": f"{run.attempt}/{each['rank']}"}
        decisions.add_rows("training.groups_leased", now(), [{**waits, **row} for row in each["waiting"]])
        for gone in each["expired"]:
            # What another start has recorded meanwhile is not told twice.
            first = max(gone["first_offset"], state.drawn.get(gone["partition"], 0))
            if first < gone["until_offset"]:
                decisions.add("training.offsets_expired", now(), {**of_run, **gone, "first_offset": first})
    rows = [
        {
            **of_run,
            "checkpoint": saved.checkpoint,
            "parent": saved.parent,
            "step": saved.step,
            "world_size": run.world_size,
            "weights_sha256": saved.weights_sha256,
            "policy_version": state.lineages.current(run.lineage, published),
            "parts": 1,
            "groups": len(groups),
            "sequence": number,
            **_place(groups[number]),
        }
        for number in sorted(groups)
    ]
    parts = len(parts_of(rows))
    decisions.add_rows("training.checkpoint_saved", now(), [{**row, "parts": parts} for row in rows])
    return decisions


def _place(row: Mapping[str, Any]) -> Row:
    return {name: row[name] for name in _PLACE}
