"""How old a group is for a run, through the forks of its lineage. sinks/feed/decide/staleness.ts is the same rule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fork:
    lineage: str
    version: int
    """The last one of that lineage that counts; −1: none."""


class Lineages:
    def __init__(self) -> None:
        self._forks: dict[str, Fork | None] = {}

    def copy(self) -> Lineages:
        other = Lineages()
        other._forks = self._forks.copy()
        return other

    def add(self, lineage: str, fork: Fork | None) -> None:
        self._forks.setdefault(lineage, fork)

    def fork_of(self, lineage: str) -> Fork | None:
        return self._forks.get(lineage)

    def root_of(self, lineage: str) -> str:
        return [name for name, _ in self._upwards(lineage)][-1]

    def standing(self, lineage: str, ancestor: str, version: int) -> Literal["included", "undone", "other"]:
        """Whether `lineage` builds on this version of `ancestor`; `undone`: it forked before it."""
        for name, limit in self._upwards(lineage):
            if name == ancestor:
                return "included" if version <= limit else "undone"
        return "other"

    def current(self, lineage: str, published: Mapping[str, int]) -> int | None:
        """The last version that was published in a lineage, or in those that it builds on."""
        for name, limit in self._upwards(lineage):
            version = published.get(name)
            if version is not None and min(version, limit) >= 0:
                return int(min(version, limit))
        return None

    def _upwards(self, lineage: str) -> Iterator[tuple[str, float]]:
        limit, name = math.inf, lineage
        while True:
            yield name, limit
            fork = self.fork_of(name)
            if fork is None:
                return
            limit, name = min(limit, fork.version), fork.lineage


@dataclass(frozen=True)
class Rule:
    """Of a subscription and a run."""

    lineages: Lineages
    lineage: str
    max_staleness: int | None
    without_version: str

    def too_old(
        self, published: Mapping[str, int], version: int | None, lineage: str | None
    ) -> tuple[str, str] | None:
        """Why a group must not be trained on, if so: the reason of the drop, and what was found."""
        current = self.lineages.current(self.lineage, published)
        standing = None if version is None or lineage is None else self.lineages.standing(self.lineage, lineage, version)
        if current is None and standing != "undone":
            return None
        if version is None or standing is None:
            if self.without_version == "always":
                return None
            return "no_version", f"the run has published version {current}, and the group has no version"
        if standing != "included":
            expected = f"expected lineage {self.lineage} or one that it forked from"
            return "other_lineage", f"{expected}, got {lineage} version {version}"
        if current is None or self.max_staleness is None or current - version <= self.max_staleness:
            return None
        behind = f"version {version} is {current - version} behind {current}"
        return "stale", f"{behind}, expected at most {self.max_staleness}"
