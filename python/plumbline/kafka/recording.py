"""What is recorded of a consumer: its state, and the one writer that may add to it."""

from __future__ import annotations

from collections.abc import Callable

from plumbline.kafka.address import Address
from plumbline.kafka.assigned import GROUP_FORMED
from plumbline.kafka.decisions import Decisions
from plumbline.kafka.history import History
from plumbline.kafka.writer import NUMBER, Writer

Wait = Callable[[str, Callable[[], bool]], None]
"""Waits until a condition is true, which the text names. Raises UnavailableError when it stays false."""


class Recording:
    """Only the process that is to write opens it: that fences every earlier one."""

    def __init__(self, address: Address, consumer: str, history: History, patience: float, wait: Wait) -> None:
        self._address, self._consumer, self._history = address, consumer, history
        self._patience, self._wait = patience, wait
        self._writer: Writer | None = None

    def open(self) -> None:
        """Fences every other writer, then reads all that they have recorded."""
        self.close()
        # Looked at before: a trainer over HTTP must not be fenced by a mistake.
        state = self._history.read()
        if state.subscription is not None:
            state.subscribed()
        self._writer = Writer(self._address, self._consumer, self._patience)
        last = self._writer.last_number()
        self._wait(f"training event {last} can be read", lambda: bool(self._history.read().number >= last))
        self._history.expect_whole()

    def commit(self, decisions: Decisions, patience: float) -> None:
        """All events, with where readers go on, or none. Raises FencedError once there is a later writer."""
        if self._writer is None:
            raise RuntimeError("the recording is not open")
        # Where readers go on is what follows from the events: it is the same in a state that has them.
        ahead = self._history.state.copy()
        for each in decisions.made:
            ahead.apply(each.event_type, each.data)
        offsets = {
            # Up to where the events must be readable for the next writer.
            NUMBER: ahead.number,
            **{(GROUP_FORMED, partition): ahead.first_unfinished(partition) for partition in ahead.drawn},
        }
        self._writer.commit(decisions.made, offsets, patience)
        self._history.state = ahead

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
