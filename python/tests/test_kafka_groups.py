import hashlib
import json
import pathlib
import tempfile
import unittest

import pyarrow as pa

from plumbline.errors import FeedError, UnavailableError
from plumbline.groups import Groups
from plumbline.kafka.blobs import bytes_of, loaded, open_blobs
from plumbline.kafka.start import expect_same, subscription_of
from plumbline.kafka.state import State


class Options(unittest.TestCase):
    def test_what_there_is_not_over_kafka_is_refused_before_a_broker_is_called(self):
        for options, words in [
            ({"order": "shuffled"}, "order: over Kafka it is 'arrival'"),
            ({"lease_ms": 1_000}, "lease_ms: not over Kafka"),
            ({"filter": {"tasks": "x"}}, "filter: expected origin"),
            ({"purposes": ["train", "test"]}, "purposes: expected a list of train, eval, probe"),
            ({"max_staleness": -1}, "max_staleness: expected 0 or more"),
            ({"consumer": "Lab"}, "consumer: expected lower-case letters"),
        ]:
            with self.assertRaisesRegex(ValueError, words):
                Groups(kafka="kafka://127.0.0.1:1", **{"consumer": "lab", "run": "r1", **options})

    def test_a_consumer_is_over_http_or_over_kafka(self):
        for both in ({}, {"url": "http://127.0.0.1:1", "kafka": "kafka://127.0.0.1:1"}):
            with self.assertRaisesRegex(TypeError, "expected either the URL of a feed or kafka="):
                Groups(consumer="lab", run="r1", **both)

    def test_a_broker_that_is_away_is_an_error_after_the_patience(self):
        with self.assertRaisesRegex(UnavailableError, "kafka://127.0.0.1:1: looking for the topics"):
            Groups(kafka="kafka://127.0.0.1:1", consumer="lab", run="r1", patience=0)

    def test_what_is_left_out_has_the_default_of_the_feed(self):
        whole, start = subscription_of({"filter": {"task": "x_only"}})
        self.assertEqual((start, whole["keep_checkpoints"], whole["transport"]), ("beginning", 16, "kafka"))
        self.assertEqual((whole["filter"]["task"], whole["filter"]["with_variance"]), ("x_only", False))
        self.assertEqual(whole["filter"]["purposes"], ["train"])

    def test_purposes_are_in_one_order_and_an_older_subscription_keeps_those_of_all(self):
        whole, _ = subscription_of({"filter": {"purposes": ["probe", "train"]}})
        self.assertEqual(whole["filter"]["purposes"], ["train", "probe"])
        wanted, _ = subscription_of({})
        older = State("lab")
        older.subscription = {**wanted, "filter": {**wanted["filter"], "purposes": None}}
        expect_same(older, wanted)
        with self.assertRaisesRegex(FeedError, "filter: subscribed with"):
            expect_same(older, whole)


class Blobs(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = pathlib.Path(temporary.name)
        self.column = pa.array([[1, 2], None, [3]], pa.list_(pa.int32()))
        schema = pa.schema([pa.field("any_name", self.column.type)])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_batch(pa.RecordBatch.from_arrays([self.column], schema=schema))
        self.content = sink.getvalue().to_pybytes()
        self.sha256 = hashlib.sha256(self.content).hexdigest()

    def stored(self):
        described = {"sha256": self.sha256, "bytes": len(self.content), "rows": 3}
        field = pa.field("token_ids", pa.null(), metadata={"plumbline.offloaded": json.dumps(described)})
        schema = pa.schema([pa.field("reward", pa.float64()), field])
        return pa.RecordBatch.from_arrays([pa.array([1.0, 2.0, 3.0]), pa.nulls(3)], schema=schema)

    def put(self, content):
        file = self.path / self.sha256[:2] / self.sha256[2:]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)

    def test_a_column_that_is_in_a_blob_is_in_the_group(self):
        self.put(self.content)
        rows = loaded(self.stored(), open_blobs(str(self.path)))
        self.assertEqual(rows.column("token_ids").to_pylist(), self.column.to_pylist())
        self.assertEqual(rows.column("reward").to_pylist(), [1.0, 2.0, 3.0])
        self.assertEqual(bytes_of(self.stored()), len(self.content))

    def test_a_blob_that_is_missing_or_damaged_is_not_passed_over(self):
        with self.assertRaisesRegex(UnavailableError, self.sha256):
            loaded(self.stored(), open_blobs(str(self.path)))
        self.put(b"other bytes")
        with self.assertRaisesRegex(UnavailableError, "its bytes have the hash"):
            loaded(self.stored(), open_blobs(str(self.path)))

    def test_without_a_place_of_blobs_the_error_names_the_argument(self):
        with self.assertRaisesRegex(FeedError, "pass blobs='FOLDER'"):
            loaded(self.stored(), open_blobs(None))
