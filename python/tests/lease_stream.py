"""Leases as the feed streams them, written by pyarrow."""

import json

import pyarrow as pa

from plumbline.group import Group, groups_of_lease

COLUMNS = pa.schema(
    [
        pa.field("group_id", pa.utf8(), nullable=False),
        pa.field("completion_index", pa.int32(), nullable=False),
        pa.field("origin", pa.utf8(), nullable=False),
        pa.field("task", pa.utf8(), nullable=False),
        pa.field("purpose", pa.utf8(), nullable=False),
        pa.field("policy", pa.utf8(), nullable=False),
        pa.field("text", pa.utf8(), nullable=False),
        pa.field("prompt_token_ids", pa.list_(pa.int32())),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("completion_mask", pa.list_(pa.int32())),
        pa.field("logprobs", pa.list_(pa.float32())),
        pa.field("token_policy_version", pa.list_(pa.int64())),
        pa.field("trainable", pa.bool_(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
        pa.field("advantage", pa.float64(), nullable=False),
        pa.field("dialect", pa.utf8(), nullable=False),
        pa.field("zero_variance", pa.bool_(), nullable=False),
    ]
)


def completion(tokens=None, **columns):
    """A row. `tokens`: the ids of the completion, or None as for a scripted policy."""
    sampled = tokens is not None
    return {
        "origin": "tower",
        "task": "x_only",
        "purpose": "train",
        "policy": "vllm" if sampled else "oracle",
        "text": "<answer>0</answer>",
        "prompt_token_ids": [7, 8] if sampled else None,
        "token_ids": tokens,
        "completion_mask": [1] * len(tokens) if sampled else None,
        "logprobs": [-0.5] * len(tokens) if sampled else None,
        "token_policy_version": [3] * len(tokens) if sampled else None,
        "trainable": sampled,
        "reward": 1.0,
        "advantage": 0.5,
        "dialect": "paper",
        "zero_variance": False,
        **columns,
    }


def lease_stream(groups, lease=17):
    """`groups`: sequence number → completions."""
    about = [
        {
            "sequence": sequence,
            "group_id": f"g{sequence}",
            "partition": 2,
            "offset": 100 + sequence,
            "policy_version_oldest": None,
            "lineage": None,
            "bytes": 1000,
        }
        for sequence in groups
    ]
    metadata = {"plumbline.lease": json.dumps({"lease": lease, "epoch": 3, "rank": 0, "groups": about})}
    schema = COLUMNS.with_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for sequence, completions in groups.items():
            rows = [{"group_id": f"g{sequence}", "completion_index": at, **row} for at, row in enumerate(completions)]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    return sink.getvalue().to_pybytes()


def group_of(*completions, sequence=40) -> Group:
    return groups_of_lease(lease_stream({sequence: completions}))[0]
