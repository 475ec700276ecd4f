"""One optimiser step of a rank."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, SupportsFloat, TypeVar, Union

from plumbline.feed import log
from plumbline.group import Group, Leased

G = TypeVar("G", bound=Union[Group, Leased])


class Step(Generic[G]):
    """A step that the feed has let begin: the leases and the staleness of its groups were checked."""

    def __init__(self, number: int, groups: Sequence[G], report: Callable[[Step[G], dict[str, Any]], None]) -> None:
        self.number = number
        self.groups = tuple(groups)
        self.is_applied = False
        self._report = report
        self._begun = time.monotonic()

    def applied(
        self,
        *,
        loss: SupportsFloat | None = None,
        grad_norm: SupportsFloat | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
    ) -> None:
        """The receipt: the optimiser has taken the step. Call it right after `optimizer.step()`.

        `seconds` is the time since `begin_step` when it is left out. What is not finite is recorded as null, in
        `metrics` not at all. Raises LeaseLostError; it may be repeated after UnavailableError.
        """
        finite = {name: _finite(name, value) for name, value in (metrics or {}).items()}
        receipt = {
            "step": self.number,
            "loss": _finite("loss", loss),
            "grad_norm": _finite("grad_norm", grad_norm),
            "tokens": None if tokens is None else int(tokens),
            "seconds": time.monotonic() - self._begun if seconds is None else float(seconds),
            "metrics": {name: value for name, value in finite.items() if value is not None},
        }
        self._report(self, receipt)
        self.is_applied = True

    def __repr__(self) -> str:
        return f"<Step {self.number} on {len(self.groups)} groups, {'applied' if self.is_applied else 'begun'}>"


def _finite(name: str, value: SupportsFloat | None) -> float | None:
    """A number that JSON has. The step has been taken: a receipt that fails for it would lose the groups."""
    if value is None:
        return None
    number = float(value)
    if math.isfinite(number):
        return number
    log.warning("%s is %s: it is not recorded", name, number)
    return None
