"""Reads groups, as a trainer does, and answers each line of standard input when it has read them all.

    feed URL CONSUMER GROUPS BATCH    leases, begins and reports steps of BATCH groups; answers again when it is closed
    bare URL STREAMS                  reads Arrow streams with pyarrow, and nothing else
"""

import http.client
import sys
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from plumbline import Groups

COLUMNS = ("prompt_token_ids", "token_ids", "completion_mask", "logprobs", "token_policy_version", "turn_index")


def touch(rows):
    """Reads every element of the columns of tokens. Returns how many tokens."""
    for name in COLUMNS:
        np.sum(rows.column(name).combine_chunks().values.to_numpy(zero_copy_only=False))
    return len(rows)


def feed(url, consumer, groups, batch):
    wanted, rows = int(groups), 0
    with Groups(url, consumer=consumer, run="bench", batch=int(batch), prefetch_bytes=2**28) as source:
        steps = source.steps(int(batch))
        while wanted > 0:
            step = next(steps)
            rows += sum(touch(group.table) for group in step.groups)
            step.applied(loss=0.5)
            wanted -= len(step.groups)
        # Closing waits for the lease ahead, which waits for groups that the log does not have.
        print(rows, flush=True)
    return "closed"


def bare(url, streams):
    address, rows = urlsplit(url), 0
    connection = http.client.HTTPConnection(address.hostname, address.port)
    for at in range(int(streams)):
        connection.request("GET", f"/{at}")
        with pa.ipc.open_stream(connection.getresponse().read()) as reader:
            rows += sum(touch(pa.Table.from_batches([batch])) for batch in reader)
    connection.close()
    return rows


for line in sys.stdin:
    kind, *arguments = line.split()
    print({"feed": feed, "bare": bare}[kind](*arguments), flush=True)
