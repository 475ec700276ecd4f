"""Keeps the leases of a rank while the trainer computes."""

from __future__ import annotations

import threading

from plumbline.errors import FeedError, UnavailableError
from plumbline.feed import Feed, log


class Heartbeat:
    """Calls four times in each lease's period. It never raises: a fenced session is marked in the feed."""

    def __init__(self, feed: Feed, epoch: int, rank: int, lease_ms: int) -> None:
        self._feed = feed
        self._body = {"epoch": epoch, "rank": rank}
        self._seconds = lease_ms / 4_000
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plumbline-heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                # The next beat is the next try.
                self._feed.call("POST", "/heartbeats", self._body, patience=0)
            except UnavailableError:
                continue
            except FeedError as error:
                log.warning("feed %s: heartbeat refused: %s", self._feed.url, error)
                if self._feed.fenced is not None:
                    return
            except Exception:
                log.exception("feed %s: heartbeat failed", self._feed.url)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(timeout=5)
