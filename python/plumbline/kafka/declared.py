# Made from the declarations in schemas/events by `npm run docs`; do not edit.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa


class Declaration(NamedTuple):
    uri: str
    """`ce_dataschema`: type, version and the beginning of the fingerprint."""
    schema: pa.Schema | None
    """Of a batch; a fact is JSON and has none."""
    alike: tuple[str, ...] = ()
    """Earlier versions, whose rows are read as those of this one."""


BY_TYPE: dict[str, Declaration] = {
    "rollout.group_formed": Declaration(
        "plumbline:rollout.group_formed/3/ec7bd53cb531571e",
        pa.schema([
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("completion_index", pa.int32(), nullable=False),  # 0 … 4095
            pa.field("attempt_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("sampled_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("origin", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("task", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("group_size", pa.int32(), nullable=False),  # 1 … 4096
            pa.field("purpose", pa.utf8(), nullable=False),
            pa.field("start_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("prompt_sha256", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("images", pa.list_(pa.field("item", pa.struct([pa.field("sha256", pa.utf8(), nullable=False), pa.field("bytes", pa.int64(), nullable=False), pa.field("media_type", pa.utf8(), nullable=False), pa.field("width", pa.int32(), nullable=False), pa.field("height", pa.int32(), nullable=False), pa.field("pixels_sha256", pa.utf8(), nullable=False)]), nullable=False)), nullable=False),  # at most 256 items, each at most 32768×32768 px
            pa.field("policy", pa.utf8(), nullable=False),  # at most 524288 characters
            pa.field("text", pa.utf8(), nullable=False),  # at most 524288 characters
            pa.field("finish_reason", pa.utf8()),  # at most 524288 characters
            pa.field("prompt_token_ids", pa.list_(pa.field("item", pa.int32(), nullable=False))),  # at most 4194304 items, each 0 or more
            pa.field("token_ids", pa.list_(pa.field("item", pa.int32(), nullable=False))),  # at most 4194304 items, each 0 or more
            pa.field("completion_mask", pa.list_(pa.field("item", pa.int32(), nullable=False))),  # at most 4194304 items, each 0 … 1
            pa.field("logprobs", pa.list_(pa.field("item", pa.float32(), nullable=False))),  # at most 4194304 items
            pa.field("logprobs_kind", pa.utf8()),
            pa.field("token_policy_version", pa.list_(pa.field("item", pa.int64(), nullable=False))),  # at most 4194304 items
            pa.field("turn_index", pa.list_(pa.field("item", pa.int32(), nullable=False))),  # at most 4194304 items, each 0 or more
            pa.field("trainable", pa.bool_(), nullable=False),
            pa.field("outcome", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("reward", pa.float64(), nullable=False),
            pa.field("reward_name", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("advantage", pa.float64(), nullable=False),
            pa.field("dialect", pa.utf8(), nullable=False),
            pa.field("reward_mean", pa.float64(), nullable=False),
            pa.field("reward_std", pa.float64(), nullable=False),  # 0 or more
            pa.field("zero_variance", pa.bool_(), nullable=False),
            pa.field("policy_version_oldest", pa.int64()),
            pa.field("policy_version_newest", pa.int64()),
            pa.field("lineage", pa.utf8()),  # at most 1024 characters
        ]),
    ),
    "model.published": Declaration(
        "plumbline:model.published/3/3dbc6d10fa67e3dd",
        None,
    ),
    "training.consumer_subscribed": Declaration(
        "plumbline:training.consumer_subscribed/2/ecdf58d497bdfe4b",
        None,
    ),
    "training.run_started": Declaration(
        "plumbline:training.run_started/1/f359d129b1474202",
        None,
    ),
    "training.groups_leased": Declaration(
        "plumbline:training.groups_leased/1/a9c39e4a6b0be62b",
        pa.schema([
            pa.field("consumer", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("number", pa.int64(), nullable=False),  # 1 or more
            pa.field("run", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("epoch", pa.int64(), nullable=False),  # 1 or more
            pa.field("rank", pa.int32(), nullable=False),  # 0 or more
            pa.field("lease", pa.int64()),  # 1 or more
            pa.field("request", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("sequence", pa.int64(), nullable=False),  # 0 or more
            pa.field("topic_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("partition", pa.int32(), nullable=False),  # 0 or more
            pa.field("offset", pa.int64(), nullable=False),  # 0 or more
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("policy_version_oldest", pa.int64()),
            pa.field("lineage", pa.utf8()),  # at most 1024 characters
            pa.field("bytes", pa.int64(), nullable=False),  # 0 or more
        ]),
    ),
    "training.lease_ended": Declaration(
        "plumbline:training.lease_ended/1/74c40e80ebc5d478",
        pa.schema([
            pa.field("consumer", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("number", pa.int64(), nullable=False),  # 1 or more
            pa.field("run", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("epoch", pa.int64(), nullable=False),  # 1 or more
            pa.field("rank", pa.int32(), nullable=False),  # 0 or more
            pa.field("lease", pa.int64(), nullable=False),  # 1 or more
            pa.field("reason", pa.utf8(), nullable=False),
            pa.field("sequence", pa.int64(), nullable=False),  # 0 or more
            pa.field("topic_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("partition", pa.int32(), nullable=False),  # 0 or more
            pa.field("offset", pa.int64(), nullable=False),  # 0 or more
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
        ]),
    ),
    "training.step_begun": Declaration(
        "plumbline:training.step_begun/1/f8b345cc7994f278",
        pa.schema([
            pa.field("consumer", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("number", pa.int64(), nullable=False),  # 1 or more
            pa.field("run", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("epoch", pa.int64(), nullable=False),  # 1 or more
            pa.field("rank", pa.int32(), nullable=False),  # 0 or more
            pa.field("step", pa.int64(), nullable=False),  # 0 or more
            pa.field("lease", pa.int64(), nullable=False),  # 1 or more
            pa.field("sequence", pa.int64(), nullable=False),  # 0 or more
            pa.field("topic_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("partition", pa.int32(), nullable=False),  # 0 or more
            pa.field("offset", pa.int64(), nullable=False),  # 0 or more
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
        ]),
    ),
    "training.groups_applied": Declaration(
        "plumbline:training.groups_applied/1/29e00c79f7b62ff3",
        pa.schema([
            pa.field("consumer", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("number", pa.int64(), nullable=False),  # 1 or more
            pa.field("run", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("epoch", pa.int64(), nullable=False),  # 1 or more
            pa.field("rank", pa.int32(), nullable=False),  # 0 or more
            pa.field("step", pa.int64(), nullable=False),  # 0 or more
            pa.field("sequence", pa.int64(), nullable=False),  # 0 or more
            pa.field("topic_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("partition", pa.int32(), nullable=False),  # 0 or more
            pa.field("offset", pa.int64(), nullable=False),  # 0 or more
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
        ]),
    ),
    "training.step_completed": Declaration(
        "plumbline:training.step_completed/1/a00e9f6d3471d237",
        None,
    ),
    "training.groups_dropped": Declaration(
        "plumbline:training.groups_dropped/2/e23915a9c25ad856",
        pa.schema([
            pa.field("consumer", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("number", pa.int64(), nullable=False),  # 1 or more
            pa.field("run", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("epoch", pa.int64(), nullable=False),  # 1 or more
            pa.field("reason", pa.utf8(), nullable=False),
            pa.field("detail", pa.utf8(), nullable=False),  # at most 524288 characters
            pa.field("sequence", pa.int64()),  # 0 or more
            pa.field("topic_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("partition", pa.int32(), nullable=False),  # 0 or more
            pa.field("offset", pa.int64(), nullable=False),  # 0 or more
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
        ]),
        ("plumbline:training.groups_dropped/1/87bb053eb804dda1",),
    ),
    "training.offsets_expired": Declaration(
        "plumbline:training.offsets_expired/1/8ce3b1f8dfd58e5e",
        None,
    ),
    "training.checkpoint_saved": Declaration(
        "plumbline:training.checkpoint_saved/1/ecbbaaaeaac006cb",
        pa.schema([
            pa.field("consumer", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("number", pa.int64(), nullable=False),  # 1 or more
            pa.field("run", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("epoch", pa.int64(), nullable=False),  # 1 or more
            pa.field("checkpoint", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("parent", pa.utf8()),  # at most 1024 characters
            pa.field("step", pa.int64(), nullable=False),  # 0 or more
            pa.field("world_size", pa.int32(), nullable=False),  # 1 … 65536
            pa.field("weights_sha256", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("policy_version", pa.int64()),
            pa.field("parts", pa.int32(), nullable=False),  # 1 or more
            pa.field("groups", pa.int32(), nullable=False),  # 1 or more
            pa.field("sequence", pa.int64(), nullable=False),  # 0 or more
            pa.field("topic_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("partition", pa.int32(), nullable=False),  # 0 or more
            pa.field("offset", pa.int64(), nullable=False),  # 0 or more
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
        ]),
    ),
    "training.rolled_back": Declaration(
        "plumbline:training.rolled_back/1/9cb391bb9dbf2bad",
        pa.schema([
            pa.field("consumer", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("number", pa.int64(), nullable=False),  # 1 or more
            pa.field("run", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("epoch", pa.int64(), nullable=False),  # 1 or more
            pa.field("checkpoint", pa.utf8()),  # at most 1024 characters
            pa.field("was", pa.utf8(), nullable=False),
            pa.field("sequence", pa.int64(), nullable=False),  # 0 or more
            pa.field("topic_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("partition", pa.int32(), nullable=False),  # 0 or more
            pa.field("offset", pa.int64(), nullable=False),  # 0 or more
            pa.field("group_id", pa.utf8(), nullable=False),  # at most 1024 characters
            pa.field("policy_version_oldest", pa.int64()),
            pa.field("lineage", pa.utf8()),  # at most 1024 characters
            pa.field("bytes", pa.int64(), nullable=False),  # 0 or more
        ]),
    ),
    "training.consumer_retired": Declaration(
        "plumbline:training.consumer_retired/1/5a0c9f61fbb09b92",
        None,
    ),
}
