"""Checkpoints as files: `NAME.safetensors` has the weights, `NAME.json` what they were trained on.

A checkpoint is complete when its JSON is there and the weights have the hash that the JSON names. Both files appear by
a rename, the weights first, so that a process may die at any instant.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from plumbline.feed import log

FORMAT = 1

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """What `NAME.json` holds."""

    checkpoint: str
    parent: str | None
    consumer: str
    run: str
    epoch: int
    step: int
    groups: Sequence[int]
    """The sequence numbers of all ranks since the parent."""
    weights_sha256: str
    has_weights: bool
    """False where the trainer stores the weights itself, and has only given their hash."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on. Without a checkpoint: step 0, no weights, nothing extra."""

    step: int
    checkpoint: str | None = None
    weights: dict[str, npt.NDArray[Any]] | None = None
    weights_sha256: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class CheckpointFolder:
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, saved: Checkpoint, weights: Weights | None) -> Checkpoint:
        """Returns when all of it is on the disk, with the hash of the weights where they are given."""
        # What is not JSON is found before the weights are written.
        json.dumps(asdict(saved))
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            if weights is not None:
                saved = replace(saved, weights_sha256=self._write_weights(saved.checkpoint, weights))
            with self._appearing(self.json_file(saved.checkpoint)) as temporary:
                fields = [f'  "{name}": {json.dumps(value)}' for name, value in asdict(saved).items()]
                temporary.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8")
        except BaseException:
            self.remove(saved.checkpoint)
            raise
        return saved

    def _write_weights(self, name: str, weights: Weights) -> str:
        # `order` also copies what is a view, which the format has no word for.
        arrays = {key: np.asarray(value, order="C") for key, value in weights.items()}
        with self._appearing(self.weights_file(name)) as temporary:
            save_file(arrays, temporary)
            return sha256_of(temporary)

    def remove(self, name: str) -> None:
        """The JSON first: weights without one are no checkpoint."""
        for file in (self.json_file(name), self.weights_file(name)):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def complete(self, name: str) -> Checkpoint | None:
        """The checkpoint, if all of it is there. Reads its weights, to compare their hash."""
        file = self.json_file(name)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}, got {content['format']}")
            saved = Checkpoint(**content)
            if saved.checkpoint != name:
                raise ValueError(f"expected checkpoint {name}, got {saved.checkpoint}")
            if saved.has_weights and (found := sha256_of(self.weights_file(name))) != saved.weights_sha256:
                raise ValueError(f"expected weights {saved.weights_sha256}, got {found}")
            return saved
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("checkpoint %s is left out: %s: %s", file, type(error).__name__, error)
            return None

    def resumed(self, saved: Checkpoint) -> Resumed:
        weights = load_file(self.weights_file(saved.checkpoint)) if saved.has_weights else None
        return Resumed(saved.step, saved.checkpoint, weights, saved.weights_sha256, saved.extra)

    def weights_file(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"

    def json_file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    @contextlib.contextmanager
    def _appearing(self, file: Path) -> Iterator[Path]:
        """A file to write that takes its name once it is on the disk."""
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, file)
            sync(self.path)
        finally:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
