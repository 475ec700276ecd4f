"""Large columns, which the log stores in blobs and not in the record. schemas/wire/offload.ts has the format."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Protocol

import httpx
import pyarrow as pa
import pyarrow.ipc

from plumbline.errors import FeedError, UnavailableError
from plumbline.kafka.wire import UnreadableError

_METADATA = b"plumbline.offloaded"
_SECONDS = 60.0


class Blobs(Protocol):
    def get(self, sha256: str) -> bytes:
        """Raises UnavailableError when it cannot be read now."""


def open_blobs(at: str | None) -> Blobs:
    """A folder, or the URL of a `blobs serve`, whose token is PLUMBLINE_BLOBS_TOKEN."""
    if at is None:
        return _None()
    if at.startswith(("http://", "https://")):
        return _Served(at)
    if "://" in at:
        return _None()
    return _Folder(Path(at))


def bytes_of(rows: pa.RecordBatch) -> int:
    """Of the columns that are in blobs."""
    return sum(int(stored["bytes"]) for stored in _stored(rows).values())


def loaded(rows: pa.RecordBatch, blobs: Blobs) -> pa.RecordBatch:
    """The batch with its large columns. Raises UnreadableError for a blob that is not the column."""
    stored = _stored(rows)
    if not stored:
        return rows
    columns, fields = list(rows.columns), list(rows.schema)
    for at, described in stored.items():
        column, field = _column(blobs, described["sha256"], rows.num_rows)
        columns[at], fields[at] = column, field.with_name(fields[at].name)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _stored(rows: pa.RecordBatch) -> dict[int, dict[str, Any]]:
    found = {}
    for at, field in enumerate(rows.schema):
        text = (field.metadata or {}).get(_METADATA)
        if text is not None:
            found[at] = json.loads(text)
    return found


def _column(blobs: Blobs, sha256: str, rows: int) -> tuple[pa.Array, pa.Field]:
    content = blobs.get(sha256)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UnavailableError("unavailable", f"blob {sha256}: its bytes have the hash {found}; restore it from a copy")
    try:
        with pa.ipc.open_stream(content) as reader:  # type: ignore[no-untyped-call]
            table = reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"blob {sha256}: expected an Arrow stream: {error}") from error
    if table.num_columns != 1 or table.num_rows != rows:
        raise UnreadableError(f"blob {sha256}: expected one column of {rows} rows, got {table.shape}")
    chunks = table.column(0).chunks
    return (chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)), table.schema.field(0)


class _None:
    def get(self, sha256: str) -> bytes:
        raise FeedError(
            "no_blobs",
            "a group has columns in blobs, and no place of blobs that this client reads was given: pass blobs='FOLDER' "
            "or the URL of a `./plumbline blobs serve`",
        )


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, sha256: str) -> bytes:
        try:
            return (self._path / sha256[:2] / sha256[2:]).read_bytes()
        except OSError as error:
            raise UnavailableError("unavailable", f"blob {sha256}: {error}") from error


class _Served:
    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        token = os.environ.get("PLUMBLINE_BLOBS_TOKEN", "")
        self._http = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=_SECONDS)

    def get(self, sha256: str) -> bytes:
        try:
            answer = self._http.get(f"{self._url}/v1/blobs/{sha256}")
        except httpx.TransportError as error:
            raise UnavailableError("unavailable", f"{self._url}: {type(error).__name__}: {error}") from error
        if answer.status_code != 200:
            raise UnavailableError("unavailable", f"{self._url}: blob {sha256}: HTTP {answer.status_code}")
        return answer.content
