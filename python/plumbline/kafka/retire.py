"""Ends a consumer over Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable

from plumbline.errors import UnavailableError
from plumbline.kafka.address import parse_address
from plumbline.kafka.decisions import Decisions
from plumbline.kafka.history import History
from plumbline.kafka.over_kafka import topic_counts
from plumbline.kafka.recording import Recording
from plumbline.kafka.wire import now

_LOOK_SECONDS = 0.1


def retire_over_kafka(address: str, consumer: str, reason: str, patience: float) -> None:
    """Fences the trainer that runs, and records that the consumer takes no more groups. A second time changes nothing.

    Raises FeedError with the code `unknown_consumer`, or `other_transport` for one over HTTP.
    """
    parsed = parse_address(address)
    _, counts = topic_counts(parsed, patience)
    until = time.monotonic() + patience

    def wait(what: str, condition: Callable[[], bool]) -> None:
        while not condition():
            if time.monotonic() > until:
                raise UnavailableError("unavailable", f"consumer {consumer}: waited for {patience} s until {what}")
            time.sleep(_LOOK_SECONDS)

    history = History(parsed, consumer, counts, patience)
    recording = Recording(parsed, consumer, history, patience, wait)
    try:
        if history.read().retired is not None:
            return
        # Before the writer: one over HTTP must not be fenced, nor a name be taken that nobody has.
        history.state.subscribed()
        recording.open()
        # No group is leased or applied in the log between two transactions: there is nothing to end or to roll back.
        decisions = Decisions(history.state)
        decisions.add("training.consumer_retired", now(), {"reason": reason})
        recording.commit(decisions, patience)
    finally:
        recording.close()
        history.close()
