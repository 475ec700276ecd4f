"""The Python side of pyarrow.int.test.ts: reads what our codec wrote, and writes what it must read.

argv: a folder. For each NAME.arrow there, NAME.py is the generated reader; writes NAME.json with the rows as JSON and
NAME.echo.arrow with the same rows, written by pyarrow from Python values.
"""

import datetime
import importlib.util
import json
import pathlib
import sys

import pyarrow as pa


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def storage(column):
    """Python values cannot hold an extension type; its storage can."""
    return column.combine_chunks().storage if isinstance(column.type, pa.BaseExtensionType) else column


def rebuilt(column, field):
    values = storage(column).to_pylist()
    if isinstance(field.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(field.type, pa.array(values, field.type.storage_type))
    return pa.array(values, field.type)


def check(path):
    spec = importlib.util.spec_from_file_location(path.stem, path.with_suffix(".py"))
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    table = reader.read(path.read_bytes())
    table.validate(full=True)
    columns = {name: plain(storage(table[name]).to_pylist()) for name in table.schema.names}
    tensors = {}
    for field in table.schema:
        if isinstance(field.type, pa.FixedShapeTensorType) and not field.nullable:
            array = table[field.name].combine_chunks().to_numpy_ndarray()
            tensors[field.name] = {"shape": list(array.shape), "dtype": str(array.dtype), "last": array.reshape(-1)[-1].item()}
    path.with_suffix(".json").write_text(json.dumps({"columns": columns, "tensors": tensors}))
    arrays = [rebuilt(table[field.name], field) for field in reader.schema]
    echo = pa.Table.from_arrays(arrays, schema=reader.schema)
    with pa.ipc.new_stream(str(path.with_suffix("")) + ".echo.arrow", reader.schema) as writer:
        for batch in echo.to_batches(max_chunksize=2):
            writer.write_batch(batch)


for arrow in sorted(pathlib.Path(sys.argv[1]).glob("*.arrow")):
    check(arrow)
