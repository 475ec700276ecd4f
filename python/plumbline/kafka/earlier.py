"""Events of earlier versions, as this client's have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from plumbline.kafka.wire import UnreadableError, expect_current


def current_rows(headers: Mapping[str, str], event_type: str, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of an event with the columns of this client's version of it.

    Raises UnreadableError for a version that it does not know.
    """
    upcast = _UPCASTS.get(headers.get("ce_dataschema", ""))
    if upcast is not None:
        return upcast(rows)
    expect_current(headers, event_type)
    return rows


def _with_purpose(rows: pa.RecordBatch) -> pa.RecordBatch:
    """As the upcast in schemas/events/rollout.ts: until version 3 every group was given to trainers."""
    after = rows.schema.get_field_index("group_size")
    if after < 0:
        raise UnreadableError("expected the column group_size")
    columns = list(rows.columns)
    columns.insert(after + 1, pa.array(["train"] * rows.num_rows, pa.utf8()))
    schema = rows.schema.insert(after + 1, pa.field("purpose", pa.utf8(), nullable=False))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


_UPCASTS: dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]] = {
    "plumbline:rollout.group_formed/2/cfb7bccadf52c0e0": _with_purpose,
}
