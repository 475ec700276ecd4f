"""Pictures of a group's prompt, for trainers that show them to a model. Needs Pillow."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from plumbline.group import Group

if TYPE_CHECKING:
    from PIL.Image import Image


class BlobFolder:
    """The folder `blobs` of a pipeline's data folder, or a copy of it, from which pictures are read.

    Called with a group, it returns the pictures that its prompt showed, in their order, as RGB. Their bytes are checked
    against the SHA-256 in the group; ValueError if they are others.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __call__(self, group: Group) -> list[Image]:
        from PIL import Image

        pictures = []
        for reference in group.table.column("images")[0].as_py():
            name = reference["sha256"]
            file = self.path / name[:2] / name[2:]
            data = file.read_bytes()
            found = hashlib.sha256(data).hexdigest()
            if found != name:
                raise ValueError(f"{file}: expected bytes with the SHA-256 {name}, got {found}; restore it from a backup")
            with Image.open(io.BytesIO(data)) as picture:
                pictures.append(picture.convert("RGB"))
        return pictures
