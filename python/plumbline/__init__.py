"""Trains on the groups of a Plumbline pipeline: each one once, and on the record. See docs/training.md."""

from plumbline.batch import NotTrainableError, pack, pad
from plumbline.checkpoint import Resumed
from plumbline.errors import (
    CheckpointRefusedError,
    FeedError,
    FencedError,
    LeaseLostError,
    NotAllowedError,
    NoVarianceError,
    StaleGroupsError,
    UnavailableError,
)
from plumbline.group import Group
from plumbline.groups import Groups
from plumbline.publish import PublishedModel, publish
from plumbline.query import query
from plumbline.retire import retire
from plumbline.step import Step

__all__ = [
    "CheckpointRefusedError",
    "FeedError",
    "FencedError",
    "Group",
    "Groups",
    "LeaseLostError",
    "NotAllowedError",
    "NotTrainableError",
    "NoVarianceError",
    "PublishedModel",
    "Resumed",
    "StaleGroupsError",
    "Step",
    "UnavailableError",
    "pack",
    "pad",
    "publish",
    "query",
    "retire",
]
