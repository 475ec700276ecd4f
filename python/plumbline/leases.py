"""Groups as they are leased, one lease ahead of the reader."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from plumbline.group import Group


class Leases:
    """At most two leases are in memory: the one that is read, and the one ahead."""

    def __init__(self, lease: Callable[[], list[Group]]) -> None:
        """`lease` returns the groups of a lease, or none after it waited for a while."""
        self._lease = lease
        self._current: deque[Group] = deque()
        self._ahead: deque[Group] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        # Of the last lease that gave no group.
        self._begun = self._ended = -1.0
        self._error: Exception | None = None

    def next(self, idle_seconds: float | None) -> Group | None:
        """The next group, or None when none came within `idle_seconds`. Raises what a lease raised."""
        called = time.monotonic()
        with self._changed:
            while True:
                if not self._current and self._ahead:
                    self._current, self._ahead = self._ahead, deque()
                    self._changed.notify_all()
                if self._thread is None and not self._closing:
                    self._thread = threading.Thread(target=self._run, name="plumbline-leases", daemon=True)
                    self._thread.start()
                if self._current:
                    return self._current.popleft()
                # What a lease found before this call may be over by now: it is tried again.
                if self._begun >= called:
                    if self._error is not None:
                        error, self._error = self._error, None
                        raise error
                    if idle_seconds is not None and self._ended >= called + idle_seconds:
                        return None
                if self._closing:
                    return None
                self._changed.wait(timeout=1)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._ahead and not self._closing:
                    self._changed.wait(timeout=1)
                if self._closing:
                    return
                self._error = None
            begun = time.monotonic()
            error: Exception | None = None
            groups: list[Group] = []
            try:
                groups = self._lease()
            except Exception as raised:
                error = raised
            with self._changed:
                self._ahead.extend(groups)
                if not groups:
                    self._begun, self._ended, self._error = begun, time.monotonic(), error
                if error is not None:
                    # The next call of `next` starts another thread.
                    self._thread = None
                self._changed.notify_all()
                if error is not None:
                    return

    def close(self, seconds: float) -> list[Group]:
        """Leases no more. Returns the groups that no one has read."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=seconds)
        with self._changed:
            rest = [*self._current, *self._ahead]
            self._current, self._ahead = deque(), deque()
        return rest
