"""SQL over the tables of a pipeline, through its feed."""

from __future__ import annotations

import os

import httpx
import pyarrow as pa

from plumbline.feed import Feed, Verify
from plumbline.group import BrokenStreamError

TOKEN = "PLUMBLINE_FEED_TOKEN"


def query(
    url: str,
    sql: str,
    *,
    token: str | None = None,
    verify: Verify = True,
    timeout: int = 60,
    patience: float = 60.0,
) -> pa.Table:
    """The rows of one statement, as `./plumbline sql` answers it: views and tables are those of `from docs`.

    `token` needs the role `sql`; it is that of PLUMBLINE_FEED_TOKEN when it is left out. The statement is interrupted
    after `timeout` seconds. A feed that is away, or whose tables nothing can answer for, is asked again for `patience`
    seconds. Raises FeedError with the code `sql_failed` for a statement that cannot be answered, and NotAllowedError.
    """
    feed = Feed(url, "", patience, token=token or os.environ.get(TOKEN) or None, verify=verify)
    try:
        parameters = {"query": sql, "timeout_s": str(timeout)}
        table: pa.Table = feed.ask("GET", "/v1/sql", parameters=parameters, read=_table, waits=float(timeout))
        return table
    finally:
        feed.close()


def _table(response: httpx.Response) -> pa.Table:
    try:
        with pa.ipc.open_stream(pa.py_buffer(response.content)) as reader:
            return reader.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise BrokenStreamError(f"the rows broke off: {error}") from error
