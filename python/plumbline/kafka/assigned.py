"""The groups of the partitions that a rank is assigned, in the order of each partition."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from plumbline.errors import FeedError, UnavailableError
from plumbline.feed import log
from plumbline.group import Group
from plumbline.kafka.address import Address
from plumbline.kafka.blobs import Blobs, bytes_of, loaded
from plumbline.kafka.earlier import current_rows
from plumbline.kafka.state import Place, State
from plumbline.kafka.tail import ends_of, is_final, reader_settings, taken
from plumbline.kafka.wire import Row, UnreadableError, batch_in, headers_of
from plumbline.kafka.work import Work

GROUP_FORMED = "rollout.group_formed"
# Only the processor's own events are groups: other programs can write to the topic.
_FORMED_BY = "/processors/form-groups"
_FILTERED = ("origin", "task", "dialect", "reward_name")


@dataclass(frozen=True)
class Topic:
    """rollout.group_formed, as it is now."""

    topic_id: str
    partitions: int


class AssignedGroups:
    """One thread reads."""

    def __init__(
        self, address: Address, topic: Topic, own: Sequence[int], state: State, work: Work, blobs: Blobs,
        *, epoch: int, most_bytes: int, patience: float, stopping: threading.Event,
    ) -> None:  # fmt: skip
        self._stopping = stopping
        self._address, self._topic, self._work, self._blobs, self._patience = address, topic, work, blobs, patience
        self._filter: Mapping[str, Any] = state.subscribed()["filter"]
        self._lease = epoch
        self._name = address.prefixed(GROUP_FORMED)
        self._drawn = {partition: state.drawn.get(partition, 0) for partition in own}
        # Groups before `drawn` that have no fate. What else is there was trained on, or does not match.
        self._again: set[Place] = {place for place in state.open if place[0] in self._drawn}
        self._admin = AdminClient(dict(address.settings))
        self._unread: deque[Any] = deque()
        self._released: deque[Group] = deque()
        self._reported: set[str] = set()
        kbytes = max(64, most_bytes // 1024)
        self._consumer = Consumer(
            reader_settings(
                address,
                **{
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "queued.max.messages.kbytes": kbytes,
                    # It pauses when that is full, and must not for a second.
                    "fetch.queue.backoff.ms": 10,
                },
            )
        )
        # By partition: up to where its records were read.
        self._reached: dict[int, int] = {}
        starts = []
        for partition, beginning in self._beginnings(own).items():
            for place in sorted(place for place in self._again if place[0] == partition and place[1] < beginning):
                self._again.discard(place)
                work.gone(state.open[place])
            self._reached[partition] = self._from(state, partition, beginning)
            starts.append(TopicPartition(self._name, partition, self._reached[partition]))
        self._consumer.assign(starts)

    def lease(self, most: int, most_bytes: int, wait: float, published: Mapping[str, int]) -> list[Group]:
        groups: list[Group] = []
        size = 0
        while self._released and len(groups) < most:
            group = self._released.popleft()
            self._work.give_again(group.sequence)
            groups.append(group)
        if not groups:
            self._work.expect_room()
        until = time.monotonic() + self._patience
        while len(groups) < most and size < most_bytes:
            if not self._unread:
                self._unread.extend(taken(self._consumer, most - len(groups), 0 if groups else wait))
                if not self._unread:
                    if groups or self._stopping.is_set() or not self._is_behind(until):
                        break
                    continue
            # It stays there when this raises: the group must not be lost.
            found = self._group_in(self._unread[0], published)
            self._unread.popleft()
            if found is not None:
                groups.append(found[0])
                size += found[1]
        return groups

    def release(self, groups: Sequence[Group]) -> None:
        self._released.extend(groups)

    def _group_in(self, message: Any, published: Mapping[str, int]) -> tuple[Group, int] | None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                # The last records may be those that end a transaction, which are no messages.
                self._reached[message.partition()] = max(self._reached[message.partition()], message.offset())
            else:
                self._mend(message.partition(), error)
            return None
        place = (int(message.partition()), int(message.offset()))
        self._reached[place[0]] = place[1] + 1
        if place[1] < self._drawn[place[0]] and place not in self._again:
            return None
        try:
            headers = headers_of(message)
            if headers.get("ce_source") != _FORMED_BY:
                raise UnreadableError(f"expected an event of {_FORMED_BY}, got one of {headers.get('ce_source')}")
            rows = batch_in(message.value())
            row = self._row(place, rows, message)
        except UnreadableError as trouble:
            self._report(f"{self._at(*place)} is no group and is not given out: {trouble}")
            return None
        try:
            rows = current_rows(headers, GROUP_FORMED, rows)
        except UnreadableError as trouble:
            # Passing it over would lose the group.
            raise FeedError("other_version", f"{self._at(*place)}: {trouble}") from trouble
        if not self._matches(rows):
            return None
        rows = loaded(rows, self._blobs)
        self._again.discard(place)
        if not self._work.read(row, published):
            return None
        return Group(rows, row, self._lease), row["bytes"]

    def _row(self, place: Place, rows: pa.RecordBatch, message: Any) -> Row:
        def first(column: str) -> Any:
            at = rows.schema.get_field_index(column)
            if at < 0:
                raise UnreadableError(f"expected the column {column}")
            return rows.column(at)[0].as_py()

        group_id = first("group_id")
        if message.key() != str(group_id).encode():
            raise UnreadableError(f"expected the key {group_id}, got {message.key()!r}")
        partition, offset = place
        return {
            # The same in every run, and of no other group; rank r of W gets those ≡ r mod W where W divides the count.
            "sequence": offset * self._topic.partitions + partition,
            "topic_id": self._topic.topic_id,
            "partition": partition,
            "offset": offset,
            "group_id": group_id,
            "policy_version_oldest": first("policy_version_oldest"),
            "lineage": first("lineage"),
            "bytes": len(message.value()) + bytes_of(rows),
        }

    def _matches(self, rows: pa.RecordBatch) -> bool:
        def first(column: str) -> Any:
            return rows.column(column)[0].as_py()

        wanted = self._filter
        return (
            all(wanted[name] is None or wanted[name] == first(name) for name in _FILTERED)
            and (wanted["lineages"] is None or first("lineage") in wanted["lineages"])
            and (wanted["purposes"] is None or first("purpose") in wanted["purposes"])
            and not (wanted["with_variance"] and first("zero_variance"))
        )

    def _mend(self, partition: int, error: KafkaError) -> None:
        """Goes on after what retention has removed. Raises UnavailableError for what is no passing trouble."""
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            beginning = self._beginnings([partition])[partition]
            self._report(f"{self._at(partition, beginning)} is the first that is left: retention removed unread groups")
            if self._reached[partition] < beginning:
                self._work.expired(self._topic.topic_id, partition, self._reached[partition], beginning)
            self._reached[partition] = beginning
            self._consumer.seek(TopicPartition(self._name, partition, beginning))
        elif error.fatal() or is_final(error):
            raise UnavailableError("unavailable", f"{self._address.text}: {error.str()}")

    def _is_behind(self, until: float) -> bool:
        """Whether there are records that have not arrived: a broker that is away is not the end of the groups."""
        places = [(self._name, partition) for partition in self._reached]
        ends = ends_of(self._admin, self._address, places, self._patience)
        behind = [partition for (_, partition), end in ends.items() if self._reached[partition] < end]
        if behind and time.monotonic() > until:
            raise UnavailableError(
                "unavailable", f"{self._address.text}: nothing of {GROUP_FORMED} partitions {behind} arrived"
            )
        return bool(behind)

    def _from(self, state: State, partition: int, beginning: int) -> int:
        places = [offset for at, offset in self._again if at == partition]
        wanted = min([*places, state.drawn.get(partition, 0)])
        if wanted < beginning:
            self._report(f"{self._at(partition, wanted)}: retention removed groups up to {beginning - 1} unread")
        drawn = state.drawn.get(partition, 0)
        if drawn < beginning:
            self._work.expired(self._topic.topic_id, partition, drawn, beginning)
        return max(wanted, beginning)

    def _beginnings(self, partitions: Sequence[int]) -> dict[int, int]:
        places = [(self._name, each) for each in partitions]
        found = ends_of(self._admin, self._address, places, self._patience, OffsetSpec.earliest())
        return {partition: offset for (_, partition), offset in found.items()}

    def _at(self, partition: int, offset: int) -> str:
        return f"{GROUP_FORMED} partition {partition} offset {offset}"

    def _report(self, message: str) -> None:
        if message not in self._reported:
            self._reported.add(message)
            log.warning("%s", message)

    def close(self) -> None:
        self._consumer.close()
