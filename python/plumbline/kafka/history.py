"""The training events of one consumer, folded in the order of their numbers as they become visible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plumbline.errors import FeedError
from plumbline.feed import log
from plumbline.kafka.address import Address
from plumbline.kafka.declared import BY_TYPE
from plumbline.kafka.state import State
from plumbline.kafka.tail import Tail
from plumbline.kafka.wire import UnreadableError, batch_in, expect_current, fact_in, headers_of, partition_of

SOURCES = "/feed/"
_SUBSCRIBED_V1 = "plumbline:training.consumer_subscribed/1/"
TRAINING_TYPES = tuple(name for name in BY_TYPE if name.startswith("training."))


class History:
    """Not for several threads at once."""

    def __init__(self, address: Address, consumer: str, partitions: Mapping[str, int], patience: float) -> None:
        """`partitions`: how many each topic has."""
        self.state = State(consumer)
        self._address = address
        self._source = f"{SOURCES}{consumer}"
        # Read and not folded, because one before them is not visible yet.
        self._ahead: dict[int, tuple[str, Any]] = {}
        homes = [(name, partition_of(consumer, partitions[name])) for name in TRAINING_TYPES]
        self._tail = Tail(address, homes, patience)

    def read(self) -> State:
        """Everything that is visible now."""
        for message in self._tail.read():
            if message.key() == self.state.consumer.encode():
                self._take(message)
                self._fold()
        return self.state

    def expect_whole(self) -> None:
        """Raises FeedError when an event is missing. To be called when every transaction of the consumer has ended."""
        if not self._ahead:
            return
        raise FeedError(
            "damaged",
            f"consumer {self.state.consumer}: expected training event {self.state.number + 1} next in "
            f"{self._address.text}, found {min(self._ahead)}: a record is missing or damaged; "
            "./plumbline verify tells where",
        )

    def _take(self, message: Any) -> None:
        event_type = self._address.shown(message.topic())
        try:
            headers = headers_of(message)
            # What other programs wrote is not the consumer's.
            if headers.get("ce_source") != self._source:
                return
            is_older = headers.get("ce_dataschema", "").startswith(_SUBSCRIBED_V1)
            if not is_older:
                expect_current(headers, event_type)
            number, data = self._decoded(event_type, message.value())
            if is_older:
                # As the upcast of schemas/events/training.ts has it: groups of any purpose.
                data["filter"] = {**data["filter"], "purposes": None}
        except UnreadableError as error:
            place = f"{event_type} partition {message.partition()} offset {message.offset()}"
            log.warning("%s is left out: %s", place, error)
            return
        # The same event twice in the log is one event.
        if number > self.state.number:
            self._ahead.setdefault(number, (event_type, data))

    def _decoded(self, event_type: str, value: bytes) -> tuple[int, Any]:
        if BY_TYPE[event_type].schema is None:
            row = fact_in(value)
            return int(row["number"]), row
        rows = batch_in(value)
        number = int(rows.column("number")[0].as_py())
        return number, rows.to_pylist() if self.state.needs(event_type) else None

    def _fold(self) -> None:
        while (found := self._ahead.pop(self.state.number + 1, None)) is not None:
            self.state.apply(*found)

    def close(self) -> None:
        self._tail.close()
