"""The training events that a transaction adds. sinks/feed/decide/decisions.ts numbers and names them by the same rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plumbline.kafka.history import SOURCES
from plumbline.kafka.state import State
from plumbline.kafka.wire import Header, Row, encode, source_id

# Far enough below the limit of an event for columns' padding and offsets.
_MOST_BYTES = 256 * 1024
# Of a row's numbers; the texts are counted.
_ROW_BYTES = 128


@dataclass(frozen=True)
class Decided:
    event_type: str
    data: Any
    headers: list[Header]
    value: bytes


class Decisions:
    """Events numbered after those of a state."""

    def __init__(self, state: State) -> None:
        self.consumer = state.consumer
        self.made: list[Decided] = []
        self._number = state.number

    def add(self, event_type: str, time: str, row: Row) -> None:
        self._push(event_type, time, lambda named: {**named, **row})

    def add_rows(self, event_type: str, time: str, rows: Sequence[Row]) -> None:
        """As many events as their size needs; none without rows."""
        for part in parts_of(rows):
            self._push(event_type, time, lambda named, part=part: [{**named, **row} for row in part])

    def _push(self, event_type: str, time: str, data_of: Any) -> None:
        self._number += 1
        data = data_of({"consumer": self.consumer, "number": self._number})
        event_id = source_id(["feed", self.consumer, str(self._number)])
        headers, value = encode(event_type, event_id, f"{SOURCES}{self.consumer}", time, self.consumer, data)
        self.made.append(Decided(event_type, data, headers, value))


def parts_of(rows: Sequence[Row]) -> list[list[Row]]:
    """Splits rows so that each part fits into one event."""
    parts: list[list[Row]] = []
    filled = _MOST_BYTES
    for row in rows:
        size = _ROW_BYTES + sum(len(value.encode()) for value in row.values() if isinstance(value, str))
        if filled + size > _MOST_BYTES:
            parts.append([])
            filled = 0
        parts[-1].append(row)
        filled += size
    return parts
