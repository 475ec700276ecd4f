"""Starts and resumes of a run. sinks/feed/decide/run.ts and subscribe.ts decide the same for the feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plumbline.errors import FeedError, FencedError
from plumbline.kafka.decisions import Decisions
from plumbline.kafka.state import Run, Saved, State, after
from plumbline.kafka.wire import Row, now
from plumbline.transport import Start

_FILTER: Row = {
    **{"origin": None, "task": None, "dialect": None, "reward_name": None, "lineages": None},
    "with_variance": False,
    "purposes": ["train"],
}
_PURPOSES = ("train", "eval", "probe")
_HTTP_ONLY = ("order_seed", "order_window", "lease_ms")


def subscription_of(wanted: Mapping[str, Any]) -> tuple[Row, str]:
    """A whole subscription, and where it begins. Raises ValueError for what there is not over Kafka."""
    wanted = dict(wanted)
    start = wanted.pop("start", "beginning")
    if start not in ("beginning", "now"):
        raise ValueError(f"start: expected 'beginning' or 'now', got {start!r}")
    if wanted.pop("order", "arrival") != "arrival":
        raise ValueError("order: over Kafka it is 'arrival', within each partition; a feed can shuffle")
    for name in _HTTP_ONLY:
        if name in wanted:
            raise ValueError(f"{name}: not over Kafka, where the assignment of partitions is the lease")
    chosen = dict(wanted.pop("filter", {}))
    unknown = sorted(set(chosen) - set(_FILTER))
    if unknown:
        raise ValueError(f"filter: expected {', '.join(_FILTER)}, got {', '.join(unknown)}")
    purposes = chosen.get("purposes", ["train"])
    if isinstance(purposes, str) or not purposes or not set(purposes) <= set(_PURPOSES):
        raise ValueError(f"purposes: expected a list of {', '.join(_PURPOSES)}, got {purposes!r}")
    # In one order: the same purposes are the same subscription.
    chosen["purposes"] = [each for each in _PURPOSES if each in purposes]
    max_staleness, keep = wanted.pop("max_staleness", None), wanted.pop("keep_checkpoints", 16)
    if max_staleness is not None and max_staleness < 0:
        raise ValueError(f"max_staleness: expected 0 or more, got {max_staleness}")
    if not 1 <= keep <= 1_024:
        raise ValueError(f"keep_checkpoints: expected 1 … 1024, got {keep}")
    without = wanted.pop("without_version", "until_published")
    if without not in ("until_published", "always"):
        raise ValueError(f"without_version: expected 'until_published' or 'always', got {without!r}")
    whole = {
        "filter": {**_FILTER, **chosen},
        "order": "arrival",
        "order_seed": "",
        "order_window": 1,
        "max_staleness": max_staleness,
        "without_version": without,
        "lease_ms": 60_000,
        "keep_checkpoints": keep,
        "transport": "kafka",
    }
    return whole, start


def expect_same(state: State, wanted: Row) -> None:
    """Raises FeedError when the consumer has another subscription, or is one over HTTP."""
    subscribed = state.subscribed()
    # Subscribed before there were purposes: it stays one for all, and does not name any.
    is_older = subscribed["filter"]["purposes"] is None and wanted["filter"]["purposes"] == _FILTER["purposes"]
    if is_older:
        wanted = {**wanted, "filter": {**wanted["filter"], "purposes": None}}
    for name, value in wanted.items():
        if subscribed[name] != value:
            raise FeedError(
                "already_subscribed",
                f"consumer {state.consumer}: {name}: subscribed with {subscribed[name]!r}, got {value!r}; "
                "a subscription does not change: take another name",
            )


def start_run(state: State, wanted: Start, published: Mapping[str, int]) -> Decisions:
    """Begins an epoch. Groups that a checkpoint after the resumed one made durable wait again."""
    state.subscribed()
    consumer = state.consumer
    if wanted.attempt in state.epochs:
        raise FencedError(
            "fenced",
            f"consumer {consumer}: attempt {wanted.attempt} has begun epoch {state.epochs[wanted.attempt]} before; "
            "a new start needs an attempt of its own",
        )
    resumed = None if wanted.checkpoint is None else _resumable(state, wanted.run, wanted.checkpoint)
    if resumed is None and wanted.run in state.saved_runs:
        last = [saved.checkpoint for saved in state.checkpoints if saved.run == wanted.run][-1:]
        raise FeedError(
            "run_exists",
            f"consumer {consumer}: run {wanted.run} has checkpoints, the last one that can be resumed is "
            f"{', '.join(last) or 'none'}; resume from one of them, or start another run",
        )
    epoch = (0 if state.run is None else state.run.epoch) + 1
    lineage, fork = _lineage_of(state, wanted, resumed, epoch, published)
    step = 0 if resumed is None else resumed.step
    run = Run(wanted.run, epoch, wanted.attempt, wanted.world_size, lineage, wanted.checkpoint, step)
    decisions = Decisions(state)
    decisions.add("training.run_started", now(), {**vars(run), "forked_from": fork})
    back = {"run": run.run, "epoch": epoch, "checkpoint": run.checkpoint, "was": "durable"}
    rows = [{**back, **group} for saved in after(state.checkpoints, run) for group in saved.groups]
    decisions.add_rows("training.rolled_back", now(), rows)
    return decisions


def expect_joins(state: State, wanted: Start) -> Run:
    """The run that rank 0 of this attempt has begun. Raises FeedError unless this rank names the same."""
    run, epoch = state.run, state.epochs[wanted.attempt]
    if run is None or run.epoch != epoch:
        raise FencedError(
            "fenced",
            f"consumer {state.consumer}: attempt {wanted.attempt} began epoch {epoch}, and a later one has begun since; "
            "a new start needs an attempt of its own",
        )
    for name in ("run", "world_size", "checkpoint"):
        expected, got = getattr(run, name), getattr(wanted, name)
        if expected != got:
            raise FeedError(
                "invalid",
                f"{name}: rank 0 of attempt {wanted.attempt} named {expected or 'nothing'}, got {got or 'nothing'}; "
                "all ranks of a start name the same",
            )
    return run


def _resumable(state: State, run: str, checkpoint: str) -> Saved:
    for saved in state.checkpoints:
        if saved.checkpoint == checkpoint and saved.run == run:
            return saved
    where = f"consumer {state.consumer}: checkpoint {checkpoint} of run {run}"
    if checkpoint in state.gone:
        raise FeedError("not_resumable", f"{where} was rolled back, or is older than those that are kept")
    raise FeedError("unknown_checkpoint", f"{where}: expected one that is recorded, found none")


def _lineage_of(
    state: State, wanted: Start, resumed: Saved | None, epoch: int, published: Mapping[str, int]
) -> tuple[str, Row | None]:
    """A version is never used twice: what was published after the checkpoint stays, and the run counts in a child."""
    lineage = resumed.lineage if resumed is not None else wanted.lineage or f"{state.consumer}/{wanted.run}"
    last = published.get(lineage)
    then = -1 if resumed is None or resumed.policy_version is None else resumed.policy_version
    # What was published before the run began is what it begins with.
    is_new = resumed is None and wanted.run not in state.runs
    if is_new or last is None or last <= then:
        fork = state.lineages.fork_of(lineage)
        return lineage, None if fork is None else {"lineage": fork.lineage, "version": fork.version}
    return f"{state.lineages.root_of(lineage)}~{epoch}", {"lineage": lineage, "version": then}
