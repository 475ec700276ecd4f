"""Dynamic sampling: steps of groups whose rewards vary. DAPO (arXiv 2503.14476), section 3.2.

A group whose completions all have the same reward has the advantage 0 everywhere, and so no gradient. DAPO samples on
until the batch is full of others. Here the groups without variance are dropped on the record, and drawing ends at a
limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from plumbline.errors import FeedError, LeaseLostError, NoVarianceError, StaleGroupsError
from plumbline.group import Group

if TYPE_CHECKING:
    from plumbline.groups import Groups

WhenShort = Literal["raise", "begin"]


class Draws:
    """The groups of one step after the other.

    Which groups a step has follows from the groups alone: it begins with the first one that varies, and ends when it
    has `size` of them, or before the first group that was drawn `most` draws after that one or later. So a run that
    resumes has the same steps, although what it dropped before is not drawn again.
    """

    def __init__(
        self, groups: Groups, draw_of: Callable[[Group], int], size: int, *, with_variance: bool, most: int | None,
        when_short: WhenShort,
    ) -> None:  # fmt: skip
        """`draw_of`: which draw of this rank a group is. Without `with_variance`, the next `size` groups are a step."""
        if size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {size}")
        if most is not None and not with_variance:
            raise ValueError("most_draws: it limits how many groups are drawn with with_variance=True")
        if most is not None and most < size:
            raise ValueError(f"most_draws: expected at least batch_size ({size}), got {most}")
        if when_short not in ("raise", "begin"):
            raise ValueError(f"when_short: expected raise or begin, got {when_short!r}")
        self._groups, self._draw_of, self._size = groups, draw_of, size
        self._with_variance, self._most, self._when_short = with_variance, most, when_short
        self.ready: dict[int, Group] = {}
        """By number: a group whose lease has ended may be leased again before the step begins."""
        self._first = 0
        self._barren: list[int] = []
        # Drawn after the last step was full: it may begin the next one.
        self._carried: tuple[Group, int] | None = None

    def fill(self, step: int) -> bool:
        """Draws what step number `step` lacks. Returns False, and releases what there is, when no more groups come."""
        tried = 0
        while len(self.ready) < self._size:
            drawn = self._draw()
            if drawn is None:
                self._drop(step)
                self.release()
                return False
            group, at = drawn
            if self._is_past(at):
                self._carried = drawn
                self._drop(step)
                if self._when_short == "begin":
                    return True
                raise self._short(step, f"{len(self.ready)} of {self._size} groups vary within {self._most} draws")
            if self._with_variance and group.zero_variance:
                self._barren.append(group.sequence)
                tried += 1
                # In both cases: there is no step without a group.
                if not self.ready and tried == self._most:
                    self._drop(step)
                    raise self._short(step, f"none of {self._most} groups varies")
                continue
            if not self.ready:
                self._first = at
            self.ready[group.sequence] = group
        self._drop(step)
        return True

    def leave_out(self, sequences: Sequence[int]) -> None:
        """They could not be begun."""
        for sequence in sequences:
            self.ready.pop(sequence, None)

    def begun(self) -> None:
        self.ready = {}

    def _draw(self) -> tuple[Group, int] | None:
        if self._carried is not None:
            carried, self._carried = self._carried, None
            return carried
        group = next(self._groups, None)
        return None if group is None else (group, self._draw_of(group))

    def _is_past(self, at: int) -> bool:
        return self._most is not None and bool(self.ready) and at >= self._first + self._most

    def _drop(self, step: int) -> None:
        """In one call, before the step begins."""
        while self._barren:
            try:
                detail = f"drawn for step {step}: all completions have the same reward"
                self._groups.drop(self._barren, "no_variance", detail)
                self._barren = []
            except FeedError as error:
                left = [sequence for sequence in self._barren if sequence not in error.groups]
                # Its lease has ended: it is drawn again.
                if not is_unusable(error) or len(left) == len(self._barren):
                    raise
                self._barren = left

    def release(self) -> None:
        """What is in no step waits again."""
        carried = [] if self._carried is None else [self._carried[0].sequence]
        if self.ready or carried:
            self._groups.release([*self.ready, *carried])
        self.ready, self._carried = {}, None

    def _short(self, step: int, found: str) -> NoVarianceError:
        groups = list(self.ready)
        self.release()
        return NoVarianceError("no_variance", f"step {step}: {found}; the others are dropped", groups)


def is_unusable(error: FeedError) -> bool:
    """Whether the groups that it names are to be left out. `used`: a lease has ended, and the feed dropped the group."""
    return isinstance(error, (StaleGroupsError, LeaseLostError)) or error.code == "used"

