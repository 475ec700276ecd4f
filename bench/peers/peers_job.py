"""What the programs in Python share: where to read and write, what is made of sixteen rewards, and how the end is told."""

import json
import math
import os
import time

GROUP = 16

BROKERS = os.environ["BENCH_BROKERS"]
INPUT = os.environ["BENCH_INPUT"]
OUTPUT = os.environ["BENCH_OUTPUT"]
MESSAGES = int(os.environ["BENCH_MESSAGES"])
# How many will come of them.
GROUPS = int(os.environ["BENCH_GROUPS"])
# Consumer group or application, new in every run.
NAME = os.environ["BENCH_NAME"]
# Of this run alone, for state.
FOLDER = os.environ["BENCH_FOLDER"]


class Progress:
    """How much has been seen, and since when."""

    def __init__(self) -> None:
        self.messages = 0
        self.groups = 0
        self.first = None
        self.first_cpu = 0.0

    def seen(self, messages: int = 1) -> None:
        if self.first is None:
            self.first = time.time()
            self.first_cpu = time.process_time()
        self.messages += messages

    def tell(self) -> None:
        """Prints what the bench reads: the last line of the output."""
        seconds = time.time() - self.first
        line = {
            "messages": self.messages,
            "groups": self.groups,
            "seconds": seconds,
            "cpu_seconds": time.process_time() - self.first_cpu,
            "first_ms": self.first * 1000,
        }
        print(json.dumps(line), flush=True)


def group_of(key: str, group: int, rewards: list) -> dict:
    """Mean, standard deviation (ddof 1) and advantages (r - mean) / std of one key's sixteen rewards in a row."""
    mean = sum(rewards) / len(rewards)
    deviation = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1))
    return {
        "key": key,
        "group": group,
        "mean": mean,
        "standard_deviation": deviation,
        "advantages": [(r - mean) / deviation for r in rewards],
    }
