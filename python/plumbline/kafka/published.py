"""What other processes have written that decides over this one: models of the run's lineages, and later starts."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping

from plumbline.errors import FencedError
from plumbline.feed import log
from plumbline.kafka.address import Address
from plumbline.kafka.history import SOURCES
from plumbline.kafka.tail import Tail
from plumbline.kafka.wire import UnreadableError, fact_in, headers_of, partition_of

MODEL_PUBLISHED = "model.published"
_STARTS = "training.run_started"


class Published:
    """Any thread may call."""

    def __init__(self, address: Address, consumer: str, partitions: Mapping[str, int], patience: float) -> None:
        self._address, self._consumer = address, consumer
        self._lock = threading.Lock()
        self._versions: dict[str, int] = {}
        self._epoch, self._run = 0, ""
        self._looked = -math.inf
        # Every partition has a copy of each model.
        places = [(MODEL_PUBLISHED, 0), (_STARTS, partition_of(consumer, partitions[_STARTS]))]
        self._tail = Tail(address, places, patience)

    def now(self, epoch: int | None = None, within: float = 0.0) -> dict[str, int]:
        """The last version of each lineage of policies. Raises FencedError when there is a later epoch.

        `within`: what was known so many seconds ago will do.
        """
        with self._lock:
            asked = time.monotonic()
            if asked - self._looked >= within:
                for message in self._tail.read():
                    self._take(message)
                self._looked = asked
            if epoch is not None and self._epoch > epoch:
                raise FencedError(
                    "fenced",
                    f"consumer {self._consumer}: epoch {self._epoch} of run {self._run} is the current one, got epoch "
                    f"{epoch}; start or resume the run to go on",
                )
            return dict(self._versions)

    def _take(self, message: object) -> None:
        event_type = self._address.shown(message.topic())  # type: ignore[attr-defined]
        try:
            headers, row = headers_of(message), fact_in(message.value())  # type: ignore[attr-defined]
            if event_type == MODEL_PUBLISHED:
                if row["role"] == "policy":
                    version = int(row["version"])
                    self._versions[row["lineage"]] = max(version, self._versions.get(row["lineage"], 0))
            elif headers.get("ce_source") == f"{SOURCES}{self._consumer}" and int(row["epoch"]) > self._epoch:
                self._epoch, self._run = int(row["epoch"]), str(row["run"])
        except (UnreadableError, KeyError, TypeError, ValueError) as error:
            log.warning("a record of %s is left out: %s", event_type, error)

    def close(self) -> None:
        with self._lock:
            self._tail.close()
