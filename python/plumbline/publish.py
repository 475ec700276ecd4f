"""Models into the log, through the feed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, SupportsFloat, Union

import httpx

from plumbline.errors import FeedError
from plumbline.feed import Feed, Verify

# A file by its path, or its bytes.
FileContents = Union[str, "os.PathLike[str]", bytes]
ModelRole = Literal["policy", "encoder", "physcode", "world_model", "router"]

TOKEN = "PLUMBLINE_FEED_TOKEN"
_PIECE_BYTES = 1024 * 1024
# For the server to look at the files of a model.
_CHECK_SECONDS = 300.0


@dataclass(frozen=True)
class PublishedModel:
    """A model that is in the log. `model_id` is what `parent` of a later one names."""

    model_id: str
    event_id: str


def publish(
    url: str,
    files: Mapping[str, FileContents],
    *,
    lineage: str,
    version: int,
    role: ModelRole = "policy",
    parent: str | None = None,
    trained_on: Sequence[str] = (),
    metrics: Mapping[str, SupportsFloat] | None = None,
    manifest: Mapping[str, Any] | None = None,
    token: str | None = None,
    verify: Verify = True,
    patience: float = 300.0,
) -> PublishedModel:
    """Publishes a model that no training run made; a run publishes with `Groups.publish`.

    `files` has, by name, the path or the bytes of each: `model.onnx`, `encoder.onnx`, `adapter_model.safetensors` or
    `adapter_config.json`. `manifest` has what is known besides: `base`, `licence`, `inputs`, `outputs`,
    `normalisation`, `vocabulary` and `end_token`, as docs/feed.md has them. `token` needs the role `publish`.

    The same call may be repeated: it is answered the same. Raises FeedError with the code `version_taken` when the
    version is published with other contents, and `not_sound` when a file is none that can be used.
    """
    feed = Feed(url, "", patience, token=token or os.environ.get(TOKEN) or None, verify=verify)
    try:
        return publish_at(
            feed,
            files,
            {
                **(manifest or {}),
                "lineage": lineage,
                "version": version,
                "role": role,
                "parent": parent,
                "trained_on": list(trained_on),
                "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            },
        )
    finally:
        feed.close()


def publish_at(feed: Feed, files: Mapping[str, FileContents], model: Mapping[str, Any]) -> PublishedModel:
    """Sends the files that the feed lacks, then the model."""
    read = {name: _File(contents) for name, contents in files.items()}
    named = [{"name": name, "sha256": file.sha256, "bytes": file.bytes} for name, file in sorted(read.items())]
    for file in read.values():
        if not _has(feed, file):
            # The hash names the bytes: a file that changes meanwhile is refused.
            feed.ask(
                "PUT", f"/v1/blobs/{file.sha256}", content=file.pieces, length=file.bytes, read=_nothing, waits=300.0
            )
    answer = feed.ask("POST", "/v1/models", {**model, "files": named}, waits=_CHECK_SECONDS)
    return PublishedModel(model_id=str(answer["model_id"]), event_id=str(answer["event_id"]))


class _File:
    def __init__(self, contents: FileContents) -> None:
        self._contents = contents
        digest = hashlib.sha256()
        self.bytes = 0
        for piece in self.pieces():
            digest.update(piece)
            self.bytes += len(piece)
        self.sha256 = digest.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        if isinstance(self._contents, bytes):
            yield from (self._contents[at : at + _PIECE_BYTES] for at in range(0, len(self._contents), _PIECE_BYTES))
            return
        with Path(self._contents).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece


def _has(feed: Feed, file: _File) -> bool:
    try:
        # A token with the role `publish` alone may not look; then the file is sent.
        size = feed.ask("HEAD", f"/v1/blobs/{file.sha256}?check", read=_size)
    except FeedError:
        return False
    return size == file.bytes


def _size(response: httpx.Response) -> int:
    return int(response.headers.get("content-length", -1))


def _nothing(_: httpx.Response) -> None:
    return None
