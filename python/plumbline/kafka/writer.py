"""The one producer that may add to a consumer's training events. Another start of it fences this one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from plumbline.errors import FencedError, UnavailableError
from plumbline.feed import log
from plumbline.kafka.address import Address
from plumbline.kafka.decisions import Decided
from plumbline.kafka.tail import is_final, reader_settings, retried

# A transaction lasts as long as its records take to be sent. Below what brokers allow at most.
_TRANSACTION_MS = 60_000
_CALL_SECONDS = 30.0
_PAUSE_SECONDS = 0.2
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)

Offsets = Mapping[tuple[str, int], int]
"""By topic and partition, where a reader goes on."""

NUMBER = ("training.consumer_subscribed", 0)
"""Its offset in the group is the number of the consumer's last training event, as the feed commits it too."""


class Writer:
    def __init__(self, address: Address, consumer: str, patience: float) -> None:
        """Fences every earlier one, and waits until its transactions have ended and are visible."""
        self._address, self._consumer, self._patience = address, consumer, patience
        # That of a feed: of a feed and a trainer that subscribe a consumer at once, one is fenced.
        name = address.prefixed(f"feed/{consumer}")
        self._producer = Producer(
            {
                **address.settings,
                "transactional.id": name,
                "transaction.timeout.ms": _TRANSACTION_MS,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "message.max.bytes": 1_000_000,
                # When all brokers are away, the client would otherwise begin again with the addresses that it was given,
                # and end its connections to the brokers that it had found. librdkafka 2.16 then sends the offsets of an
                # open transaction to such a broker, which never answers, whatever the limit of the call.
                "metadata.recovery.strategy": "none",
            }
        )
        # It joins no group: the assignment is static, and only names the group whose offsets are committed.
        self._group = Consumer(reader_settings(address, **{"group.id": name}))
        self._repeat("opening the producer", patience, lambda: self._producer.init_transactions(_CALL_SECONDS))

    def last_number(self) -> int:
        """Of the last event that a writer of this consumer has committed."""
        place = TopicPartition(self._address.prefixed(NUMBER[0]), NUMBER[1])

        def ask() -> int:
            return int(self._group.committed([place], _CALL_SECONDS)[0].offset)

        found: int = retried("reading the last number", self._address, self._patience, ask)
        return max(0, found)

    def commit(self, decided: Sequence[Decided], offsets: Offsets, patience: float) -> None:
        """All events and offsets, or none. Raises FencedError once there is a later writer of the consumer.

        A broker that is away is called again for `patience` seconds; then UnavailableError, and nothing was written.
        """
        until = time.monotonic() + patience
        while True:
            self._producer.begin_transaction()
            try:
                self._send(decided, offsets, until)
                self._finish(until)
                return
            except KafkaException as error:
                self._expect_usable(error.args[0])
                self._abort()
                if is_final(error.args[0]) or time.monotonic() >= until:
                    raise self._unavailable("committing", error) from error
                log.warning("%s: %s; trying again", self._address.text, error.args[0].str())
                time.sleep(_PAUSE_SECONDS)

    def _send(self, decided: Sequence[Decided], offsets: Offsets, until: float) -> None:
        for each in decided:
            while True:
                try:
                    self._producer.produce(
                        self._address.prefixed(each.event_type),
                        key=self._consumer.encode(),
                        value=each.value,
                        headers=each.headers,
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self._producer.poll(0)
        positions = [
            TopicPartition(self._address.prefixed(topic), partition, offset)
            for (topic, partition), offset in sorted(offsets.items())
        ]
        if positions:
            group = self._group.consumer_group_metadata()
            left = max(0.0, min(_CALL_SECONDS, until - time.monotonic()))
            self._producer.send_offsets_to_transaction(positions, group, left or _PAUSE_SECONDS)

    def _finish(self, until: float) -> None:
        """The transaction may have been committed although the answer is lost: only this call can tell."""
        while True:
            try:
                self._producer.commit_transaction(_CALL_SECONDS)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                self._expect_usable(error.args[0])
                log.warning("%s: %s; asking again", self._address.text, error.args[0].str())

    def _abort(self) -> None:
        self._repeat("aborting", float("inf"), lambda: self._producer.abort_transaction(_CALL_SECONDS))

    def _repeat(self, what: str, patience: float, call: Callable[[], Any]) -> None:
        until = time.monotonic() + patience
        while True:
            try:
                call()
                return
            except KafkaException as error:
                self._expect_usable(error.args[0])
                if is_final(error.args[0]) or time.monotonic() >= until:
                    raise self._unavailable(what, error) from error
                time.sleep(_PAUSE_SECONDS)

    def _expect_usable(self, error: KafkaError) -> None:
        if not error.fatal() and error.code() not in _FENCED:
            return
        raise FencedError(
            "fenced",
            f"consumer {self._consumer}: {error.str()}: a later start of it has taken over, or a transaction was cut "
            "off; start or resume the run to go on",
        )

    def _unavailable(self, what: str, error: KafkaException) -> UnavailableError:
        return UnavailableError("unavailable", f"{self._address.text}: {what}: {error.args[0].str()}")

    def close(self) -> None:
        self._group.close()
        # A transaction that is open is aborted by the next writer.
        self._producer.purge()
