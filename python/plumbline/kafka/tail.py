"""Partitions of a log, read to their end and, later, from there to the end of then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from plumbline.errors import UnavailableError
from plumbline.kafka.address import Address

_CALL_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_AT_ONCE = 500
# Of what librdkafka fetches ahead of its reader, for each partition.
_QUEUED_KBYTES = 16 * 1024


def reader_settings(address: Address, **more: Any) -> dict[str, Any]:
    return {
        **address.settings,
        # It has to be named, though nothing is committed under it.
        "group.id": address.prefixed("python-reader"),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": _QUEUED_KBYTES,
        **more,
    }


def retried(what: str, address: Address, patience: float, call: Any) -> Any:
    """The result of a call that a broker that is away may fail. Raises UnavailableError after `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            return call()
        except KafkaException as error:
            if is_final(error.args[0]) or time.monotonic() >= until:
                raise UnavailableError("unavailable", f"{address.text}: {what}: {error.args[0].str()}") from error
            time.sleep(_PAUSE_SECONDS)


def is_final(error: KafkaError) -> bool:
    """Whether repeating the call would not help."""
    return error.code() in (
        KafkaError._AUTHENTICATION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError._SSL,
    )


def taken(consumer: Any, most: int, wait: float) -> list[Any]:
    """At most so many messages; none if none arrived within `wait` seconds. `consume` alone would wait for all of them."""
    first = consumer.poll(wait)
    if first is None:
        return []
    return [first, *consumer.consume(most - 1, 0)] if most > 1 else [first]


def ends_of(
    admin: AdminClient,
    address: Address,
    partitions: Iterable[tuple[str, int]],
    patience: float,
    which: OffsetSpec | None = None,
) -> dict[tuple[str, int], int]:
    """Up to where committed records can be read, by prefixed topic and partition; or another offset of each."""
    latest = {TopicPartition(*each): which or OffsetSpec.latest() for each in partitions}

    def ask() -> dict[tuple[str, int], int]:
        asked = admin.list_offsets(
            latest, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_CALL_SECONDS
        )
        try:
            return {(each.topic, each.partition): int(found.result().offset) for each, found in asked.items()}
        except KafkaException:
            # It remembers that a partition had no leader, and would not look again by itself.
            admin.list_topics(timeout=_CALL_SECONDS)
            raise

    found: dict[tuple[str, int], int] = retried("the ends of topics", address, patience, ask)
    return found


class Tail:
    """Not for several threads at once."""

    def __init__(self, address: Address, partitions: Sequence[tuple[str, int]], patience: float) -> None:
        """`partitions` of topics without the prefix."""
        self._address, self._patience = address, patience
        # A connection of its own: on that of the reader a question waits until a fetch that is under way has ended.
        self._admin = AdminClient(dict(address.settings))
        self._consumer = Consumer(reader_settings(address, **{"enable.partition.eof": True}))
        self._reached = {(address.prefixed(topic), partition): 0 for topic, partition in partitions}
        self._consumer.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in self._reached])

    def read(self) -> Iterator[Any]:
        """The messages that were committed before this call and that were not read yet. Read it to its end."""
        ends = ends_of(self._admin, self._address, self._reached, self._patience)
        until = time.monotonic() + self._patience
        while any(self._reached[each] < end for each, end in ends.items()):
            messages = taken(self._consumer, _AT_ONCE, 1.0)
            for message in messages:
                place, error = (message.topic(), message.partition()), message.error()
                if error is None:
                    self._reached[place] = message.offset() + 1
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    # The last records may be those that end a transaction, which are no messages.
                    self._reached[place] = max(self._reached[place], message.offset())
                elif error.fatal() or is_final(error):
                    raise UnavailableError("unavailable", f"{self._address.text}: {error.str()}")
            if messages:
                until = time.monotonic() + self._patience
            elif time.monotonic() > until:
                behind = [self._address.shown(topic) for (topic, at), end in ends.items() if self._reached[topic, at] < end]
                raise UnavailableError("unavailable", f"{self._address.text}: nothing of {', '.join(behind)} arrived")

    def close(self) -> None:
        self._consumer.close()
