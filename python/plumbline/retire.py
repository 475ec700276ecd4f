"""Ends a consumer."""

from __future__ import annotations

import os

from plumbline.feed import Feed, Verify
from plumbline.publish import TOKEN

_MOST_LETTERS = 4_096


def retire(
    url: str | None = None,
    *,
    kafka: str | None = None,
    consumer: str,
    reason: str = "",
    token: str | None = None,
    verify: Verify = True,
    patience: float = 300.0,
) -> None:
    """The consumer takes no more groups: what it has not made durable is not given out any more.

    For a consumer over HTTP `url` is the feed, and a token needs the role `receipts`; for one over Kafka `kafka` is the
    address of the log. A trainer that still runs is refused, or fenced. A second time changes nothing. Raises FeedError
    with the code `unknown_consumer` or `other_transport`.
    """
    if len(reason) > _MOST_LETTERS:
        raise ValueError(f"reason: expected at most {_MOST_LETTERS} characters, got {len(reason)}")
    if (url is None) == (kafka is None):
        raise TypeError("retire: expected either the URL of a feed or kafka='kafka://HOST:PORT'")
    if url is None:
        if token is not None or verify is not True:
            raise TypeError("token, verify: they are for a feed; docs/kafka.md has the variables for a broker")
        from plumbline.kafka.retire import retire_over_kafka

        retire_over_kafka(str(kafka), consumer, reason, patience)
        return
    feed = Feed(url, consumer, patience, token=token or os.environ.get(TOKEN) or None, verify=verify)
    try:
        feed.call("DELETE", "", {"reason": reason})
    finally:
        feed.close()
