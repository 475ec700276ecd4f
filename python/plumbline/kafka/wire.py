"""Events as records: CloudEvents in headers, facts in JSON, batches in Arrow. schemas/wire has the same in TypeScript."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Union

import pyarrow as pa
import pyarrow.ipc

from plumbline.kafka.declared import BY_TYPE

Row = dict[str, Any]
Header = tuple[str, Union[bytes, None]]

ARROW = "application/vnd.apache.arrow.stream"


class UnreadableError(ValueError):
    """A record is not the event that was expected, or of a version that this client does not know."""


def now() -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def source_id(parts: Sequence[str]) -> str:
    """`ce_id` of an event that is no derivation: 128 bits of the SHA-256 of its parts, each with its length."""
    texts = [text.encode() for text in ("source", *parts)]
    counted = [struct.pack("<I", len(text)) + text for text in texts]
    return hashlib.sha256(counted[0] + struct.pack("<I", len(parts)) + b"".join(counted[1:])).hexdigest()[:32]


def partition_of(key: str, partitions: int) -> int:
    """Kafka's Java default: murmur2 of the key's UTF-8 bytes without its sign, modulo the partition count."""
    return (_murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """MurmurHash2 of 32 bits (Austin Appleby, public domain) with the seed that Kafka uses."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    found = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * m & mask
        word = (word ^ (word >> 24)) * m & mask
        found = (found * m & mask) ^ word
    if whole < len(data):
        found = (found ^ int.from_bytes(data[whole:], "little")) * m & mask
    found = (found ^ (found >> 13)) * m & mask
    return found ^ (found >> 15)


def encode(event_type: str, event_id: str, source: str, time: str, key: str, data: Any) -> tuple[list[Header], bytes]:
    """The headers and the value of an event: a row where it is a fact, else rows."""
    declared = BY_TYPE[event_type]
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": event_type,
        "ce_time": time,
        "ce_subject": key,
        "ce_dataschema": declared.uri,
        "ce_partitionkey": key,
        "ce_clock": "wall",
        "content-type": "application/json" if declared.schema is None else ARROW,
        "ce_schemarules": "1",
    }
    headers: list[Header] = [(name, text.encode()) for name, text in attributes.items()]
    if declared.schema is None:
        return headers, json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, declared.schema) as stream:  # type: ignore[no-untyped-call]
        stream.write_batch(pa.RecordBatch.from_pylist(data, declared.schema))
    return headers, sink.getvalue().to_pybytes()


def headers_of(message: Any) -> dict[str, str]:
    """Raises UnreadableError where one is repeated or is no text."""
    found: dict[str, str] = {}
    for name, value in message.headers() or []:
        if name in found or value is None:
            raise UnreadableError(f"header {name}: expected it once, with a text")
        try:
            found[name] = value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableError(f"header {name}: expected UTF-8") from error
    return found


def expect_current(headers: Mapping[str, str], event_type: str) -> None:
    """Raises UnreadableError for an event of another version than this client's."""
    declared, got = BY_TYPE[event_type], headers.get("ce_dataschema")
    expected = declared.uri
    if got != expected and got not in declared.alike:
        raise UnreadableError(
            f"{event_type}: expected {expected}, got {got}: written by another release; "
            "install the client of the release that runs the pipeline, or train over HTTP, where the feed converts"
        )


def fact_in(value: bytes | None) -> Row:
    try:
        data = json.loads(value or b"")
    except ValueError as error:
        raise UnreadableError(f"expected a JSON object: {error}") from error
    if not isinstance(data, dict):
        raise UnreadableError(f"expected a JSON object, got {type(data).__name__}")
    return data


def batch_in(value: bytes | None) -> pa.RecordBatch:
    """The rows of one event, without a copy of the value."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(value or b"")) as reader:  # type: ignore[no-untyped-call]
            batches = list(reader)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"expected an Arrow stream: {error}") from error
    if len(batches) != 1 or batches[0].num_rows == 0:
        raise UnreadableError(f"expected one batch with rows, got {[batch.num_rows for batch in batches]}")
    return batches[0]
