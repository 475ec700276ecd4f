"""Which start of the trainer this process belongs to, and which of its ranks it is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

_BROADCAST = (
    "Every rank of one start must name the same attempt, and every start another one. With torch.distributed: "
    "names = [uuid.uuid4().hex]; torch.distributed.broadcast_object_list(names); Groups(..., attempt=names[0])"
)


@dataclass(frozen=True)
class Place:
    rank: int
    world_size: int
    attempt: str


def place_of(
    environment: Mapping[str, str], rank: int | None = None, world_size: int | None = None, attempt: str | None = None
) -> Place:
    """What the arguments leave out is taken from the environment that torchrun and others set."""
    world_size = _number(environment, "WORLD_SIZE", 1) if world_size is None else world_size
    rank = _number(environment, "RANK", 0) if rank is None else rank
    if not 0 <= rank < world_size:
        raise ValueError(f"rank: expected 0 … {world_size - 1} for a world_size of {world_size}, got {rank}")
    return Place(rank, world_size, attempt or _attempt(environment, world_size))


def _attempt(environment: Mapping[str, str], world_size: int) -> str:
    run_id = environment.get("TORCHELASTIC_RUN_ID")
    if world_size == 1:
        return uuid.uuid4().hex
    if run_id is None:
        raise ValueError(f"attempt: world_size is {world_size}, and no attempt is given. {_BROADCAST}")
    if run_id == "none":
        raise ValueError(
            "attempt: torchrun was started without an id, so that two starts would look like one. "
            f"Use torchrun --standalone or --rdzv-id, or name it. {_BROADCAST}"
        )
    # Each node counts restarts for itself, and leaves out those that another node caused.
    if _number(environment, "LOCAL_WORLD_SIZE", world_size) != world_size:
        raise ValueError(f"attempt: the restarts of torchrun on several nodes have no common number. {_BROADCAST}")
    return f"{run_id}/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} in the environment: expected a whole number, got {text!r}") from None
