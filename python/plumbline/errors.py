"""What the feed refuses, as exceptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class FeedError(Exception):
    """The feed refused a call, which then had no effect.

    `code` is one of those that docs/feed.md lists, `groups` has the sequence numbers that the refusal is about.
    """

    def __init__(self, code: str, message: str, groups: Sequence[int] = ()) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.groups = tuple(groups)


class LeaseLostError(FeedError):
    """The leases of `groups` have ended.

    By `begin_step`: nothing was begun, and the groups are leased again later. By `Step.applied`: the weights contain a
    step that the feed did not count, so that no checkpoint after it is taken. Open a new `Groups` and resume.
    """


class StaleGroupsError(FeedError):
    """`groups` are too old for the policy of this run, and are dropped now. Nothing was begun."""


class NoVarianceError(FeedError):
    """Too few of the groups that were drawn for a step vary. `groups` vary, and wait again; the others are dropped."""


class FencedError(FeedError):
    """A later start of the consumer, or a later feed, has taken over: this process has to end."""


class NotAllowedError(FeedError):
    """The feed does not know the token, or the token lacks the role or the consumer of the call."""


class UnavailableError(FeedError):
    """The feed did not answer, or not usably, for as long as `patience` allows. The same call may be repeated."""


class CheckpointRefusedError(FeedError):
    """The named groups are not exactly those that were applied since the parent. The checkpoint's files are removed."""

    def __init__(self, code: str, message: str, answer: Mapping[str, Any]) -> None:
        self.missing: tuple[int, ...] = tuple(answer.get("missing") or ())
        self.superfluous: tuple[int, ...] = tuple(answer.get("superfluous") or ())
        self.later: tuple[int, ...] = tuple(answer.get("later") or ())
        self.ranks: tuple[dict[str, int], ...] = tuple(answer.get("ranks") or ())
        self.broken_step: int | None = answer.get("broken_step")
        found = {
            "applied, but not named": self.missing,
            "named, but not applied": self.superfluous,
            "used by a later step": self.later,
            "receipts that are missing": self.ranks,
            "step whose leases were lost": self.broken_step,
        }
        shown = "; ".join(f"{what}: {_few(which)}" for what, which in found.items() if which not in (None, ()))
        super().__init__(code, f"{message} ({shown})" if shown else message, answer.get("groups") or self.missing)


def _few(which: object) -> str:
    if not isinstance(which, tuple):
        return str(which)
    more = f" and {len(which) - 10} more" if len(which) > 10 else ""
    return ", ".join(str(each) for each in which[:10]) + more


_CLASSES = {
    "lease_lost": LeaseLostError,
    "stale": StaleGroupsError,
    "fenced": FencedError,
    "unauthorised": NotAllowedError,
    "forbidden": NotAllowedError,
}


def refusal(status: int, answer: object, text: str) -> FeedError:
    """The exception for an answer that is not 2xx; `answer` is its JSON, or None where it has none."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("error"), str):
        # A proxy in front of the feed may refuse too.
        kind = NotAllowedError if status in (401, 403) else FeedError
        return kind(f"http_{status}", f"the answer is not one of a feed; is the address right? {text[:200]}")
    code, message = answer["error"], str(answer.get("message", ""))
    if code == "incomplete":
        return CheckpointRefusedError(code, message, answer)
    return _CLASSES.get(code, FeedError)(code, message, answer.get("groups") or ())
