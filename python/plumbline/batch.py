"""Groups as arrays of tokens, as trainers take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from plumbline.group import Group

Arrays = dict[str, npt.NDArray[Any]]

NO_VERSION = -1
"""The policy version of padding, of a prompt, and of a token whose version was not recorded."""


class NotTrainableError(ValueError):
    """A completion lacks what training on its tokens needs. Tokens are never computed again from its text."""


@dataclass(frozen=True)
class _Completion:
    prompt: npt.NDArray[np.int64]
    token_ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    logprobs: npt.NDArray[np.float32]
    versions: npt.NDArray[np.int64]


def pad(
    groups: Group | Iterable[Group],
    side: Literal["right", "left"] = "right",
    pad_id: int = 0,
    *,
    prompts: bool = True,
) -> Arrays:
    """Completions as rows of equal length. B completions in all groups, T tokens in the longest, P in its prompt.

    - `token_ids` [B, T] int64, `logprobs` [B, T] float32 (0 at padding), `versions` [B, T] int64 (−1 at padding)
    - `mask` [B, T] bool: true where the policy chose the token, which is what a loss is taken over
    - `attention_mask` [B, T] bool: true where there is a token
    - `prompt_token_ids` [B, P] int64 and `prompt_mask` [B, P] bool, padded on the left; not with `prompts=False`
    - `rewards`, `advantages` [B] float32
    - `sequences` [B] int64: the group of each row

    Raises NotTrainableError where token ids or log-probabilities are missing.
    """
    if side not in ("right", "left"):
        raise ValueError(f"side: expected 'right' or 'left', got {side!r}")
    groups = _listed(groups)
    rows = list(_completions(groups, prompts))
    lengths = [len(row.token_ids) for row in rows]
    shape = (len(rows), max(lengths, default=0))
    arrays: Arrays = {
        "token_ids": np.full(shape, pad_id, np.int64),
        "mask": np.zeros(shape, np.bool_),
        "attention_mask": np.zeros(shape, np.bool_),
        "logprobs": np.zeros(shape, np.float32),
        "versions": np.full(shape, NO_VERSION, np.int64),
    }
    for at, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        place = np.s_[at, :length] if side == "right" else np.s_[at, shape[1] - length :]
        arrays["token_ids"][place] = row.token_ids
        arrays["mask"][place] = row.mask
        arrays["attention_mask"][place] = True
        arrays["logprobs"][place] = row.logprobs
        arrays["versions"][place] = row.versions
    if prompts:
        longest = max((len(row.prompt) for row in rows), default=0)
        arrays["prompt_token_ids"] = np.full((len(rows), longest), pad_id, np.int64)
        arrays["prompt_mask"] = np.zeros((len(rows), longest), np.bool_)
        for at, row in enumerate(rows):
            arrays["prompt_token_ids"][at, longest - len(row.prompt) :] = row.prompt
            arrays["prompt_mask"][at, longest - len(row.prompt) :] = True
    return arrays | _per_completion(groups)


def pack(groups: Group | Iterable[Group], *, prompts: bool = True) -> Arrays:
    """Prompts and completions one after the other, without padding. B completions, N tokens in all.

    - `token_ids`, `position_ids` [N] int64; positions begin at 0 in each prompt
    - `mask` [N] bool: true where the policy chose the token; false in prompts
    - `logprobs` [N] float32 (0 in prompts), `versions` [N] int64 (−1 in prompts)
    - `cu_seqlens` [B + 1] int32: completion b and its prompt are at `cu_seqlens[b] : cu_seqlens[b + 1]`
    - `prompt_lengths` [B] int64; all 0 with `prompts=False`
    - `rewards`, `advantages` [B] float32
    - `sequences` [B] int64: the group of each completion

    Raises NotTrainableError where token ids or log-probabilities are missing.
    """
    groups = _listed(groups)
    rows = list(_completions(groups, prompts))
    lengths = np.array([len(row.prompt) + len(row.token_ids) for row in rows], np.int64)

    def joined(parts: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]], kind: type[np.generic]) -> npt.NDArray[Any]:
        flat = [array for pair in parts for array in pair]
        return np.concatenate(flat).astype(kind, copy=False) if flat else np.zeros(0, kind)

    return {
        "token_ids": joined(((row.prompt, row.token_ids) for row in rows), np.int64),
        "mask": joined(((np.zeros(len(row.prompt), np.bool_), row.mask) for row in rows), np.bool_),
        "logprobs": joined(((np.zeros(len(row.prompt), np.float32), row.logprobs) for row in rows), np.float32),
        "versions": joined(((np.full(len(row.prompt), NO_VERSION), row.versions) for row in rows), np.int64),
        "position_ids": np.concatenate([np.arange(length) for length in lengths] or [np.zeros(0, np.int64)]),
        "cu_seqlens": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        "prompt_lengths": np.array([len(row.prompt) for row in rows], np.int64),
        **_per_completion(groups),
    }


def _listed(groups: Group | Iterable[Group]) -> list[Group]:
    return [groups] if isinstance(groups, Group) else list(groups)


def _per_completion(groups: Sequence[Group]) -> Arrays:
    def joined(parts: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
        return np.concatenate([*parts, np.zeros(0, kind)]).astype(kind)

    return {
        "rewards": joined([group.rewards for group in groups], np.float32),
        "advantages": joined([group.advantages for group in groups], np.float32),
        "sequences": joined([np.full(group.size, group.sequence) for group in groups], np.int64),
    }


def _completions(groups: Iterable[Group], prompts: bool) -> Iterator[_Completion]:
    for group in groups:
        columns = {
            name: _lists(group.table.column(name))
            for name in ("prompt_token_ids", "token_ids", "completion_mask", "logprobs", "token_policy_version")
        }
        for at in range(group.size):
            given = {name: values[at] for name, values in columns.items()}
            needed = ["token_ids", "logprobs", *(["prompt_token_ids"] if prompts else [])]
            for name in needed:
                if given[name] is None:
                    raise _not_trainable(group, at, f"its {name} are null", name)
            token_ids = _array(given["token_ids"], np.int64)
            for name in ("completion_mask", "logprobs", "token_policy_version"):
                values = given[name]
                if values is not None and len(values) != len(token_ids):
                    problem = f"expected {len(token_ids)} {name}, one for each of its token ids, got {len(values)}"
                    raise _not_trainable(group, at, problem, name)
            mask, versions = given["completion_mask"], given["token_policy_version"]
            yield _Completion(
                prompt=_array(given["prompt_token_ids"] if prompts else [], np.int64),
                token_ids=token_ids,
                mask=np.ones(len(token_ids), np.bool_) if mask is None else _array(mask, np.bool_),
                logprobs=_array(given["logprobs"], np.float32),
                versions=np.full(len(token_ids), NO_VERSION) if versions is None else _array(versions, np.int64),
            )


def _lists(column: pa.ChunkedArray) -> list[npt.NDArray[Any] | None]:
    """A list column as an array for each row, without a Python object for each token."""
    rows: list[npt.NDArray[Any] | None] = []
    for scalar in column:
        rows.append(scalar.values.to_numpy(zero_copy_only=False) if scalar.is_valid else None)
    return rows


def _array(values: Any, kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.asarray(values).astype(kind)


def _not_trainable(group: Group, row: int, problem: str, name: str) -> NotTrainableError:
    completion = group.table.column("completion_index")[row].as_py()
    policy = group.table.column("policy")[row].as_py()
    remedy = (
        "Leave prompts out (prompts=False) and put the prompt in yourself."
        if name == "prompt_token_ids"
        else "A scripted policy gives none: drop the group, or subscribe to groups of another policy."
    )
    return NotTrainableError(
        f"group {group.sequence} ({group.group_id}), completion {completion} of policy {policy}: {problem}. {remedy}"
    )
