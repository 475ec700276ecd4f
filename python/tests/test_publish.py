import hashlib
import os
import tempfile

import pyarrow as pa

import plumbline
from plumbline.errors import FeedError, NotAllowedError, UnavailableError
from tests.answering_server import NO_ANSWER, Answer, ServedTest, refused

WEIGHTS = b"weights" * 500_000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
BLOB = f"/v1/blobs/{SHA256}"
LOOK = f"{BLOB}?check"
MISSING = Answer(404, {"error": "not_found", "message": "no blob"})
PUBLISHED = Answer(body={"model_id": "sweep@3", "event_id": "e" * 32})
FILE = {"name": "model.onnx", "sha256": SHA256, "bytes": len(WEIGHTS)}


class Publishing(ServedTest):
    def publish(self, **options):
        options = {"lineage": "sweep", "version": 3, "patience": 20, **options}
        return plumbline.publish(self.server.url, {"model.onnx": WEIGHTS}, **options)

    def test_files_are_sent_and_then_the_model_that_names_them(self):
        self.server.answers(LOOK, MISSING)
        self.server.answers(BLOB, Answer(201))
        self.server.answers("/v1/models", PUBLISHED)
        model = self.publish(metrics={"loss": 1}, manifest={"licence": "MIT"}, token="t")
        self.assertEqual(model, plumbline.PublishedModel("sweep@3", "e" * 32))
        self.assertEqual(self.server.bodies(BLOB), [WEIGHTS])
        (sent,) = self.server.bodies("/v1/models")
        self.assertEqual((sent["files"], sent["metrics"], sent["licence"]), ([FILE], {"loss": 1.0}, "MIT"))
        self.assertEqual(set(self.server.authorizations), {"Bearer t"})

    def test_a_file_of_a_path_is_sent_as_its_bytes_and_one_that_is_there_is_not_sent_again(self):
        self.server.answers(LOOK, Answer(body=WEIGHTS))
        self.server.answers("/v1/models", PUBLISHED)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "any name")
            with open(path, "wb") as file:
                file.write(WEIGHTS)
            plumbline.publish(self.server.url, {"model.onnx": path}, lineage="sweep", version=3)
        self.assertEqual(self.server.bodies(BLOB), [])
        self.assertEqual(self.server.bodies("/v1/models")[0]["files"], [FILE])

    def test_what_breaks_off_is_sent_again_whole(self):
        self.server.answers(LOOK, MISSING)
        self.server.answers(BLOB, NO_ANSWER, Answer(503, {"error": "unavailable", "message": "busy"}), Answer(201))
        self.server.answers("/v1/models", NO_ANSWER, PUBLISHED)
        with self.assertLogs("plumbline"):
            self.publish()
        self.assertEqual(self.server.bodies(BLOB), [WEIGHTS] * 3)
        first, second = self.server.bodies("/v1/models")
        self.assertEqual(first, second)

    def test_a_refusal_is_an_error_with_its_code(self):
        for status, code, kind in [(409, "version_taken", FeedError), (403, "forbidden", NotAllowedError)]:
            self.server.answers(LOOK, Answer(body=WEIGHTS))
            self.server.answers("/v1/models", refused(status, code))
            with self.assertRaises(kind) as raised:
                self.publish()
            self.assertEqual(raised.exception.code, code)

    def test_a_run_names_its_lineage_its_epoch_and_its_last_step(self):
        self.server.answers(f"{BLOB}?check", Answer(body=WEIGHTS))
        self.server.answers("/v1/models", PUBLISHED)
        with plumbline.Groups(self.server.url, consumer="lab", run="r1", patience=20) as groups:
            groups.publish({"model.onnx": WEIGHTS}, parent="lab/r1@0")
        (sent,) = self.server.bodies("/v1/models")
        self.assertEqual((sent["lineage"], sent["version"], sent["parent"]), ("lab/r1", 0, "lab/r1@0"))
        self.assertEqual(sent["trained_at"], {"consumer": "lab", "run": "r1", "epoch": 3, "step": 0})


class Querying(ServedTest):
    PATH = "/v1/sql?query=select+1&timeout_s=60"

    def rows(self):
        table = pa.table({"one": [1, 2, 3]})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return table, sink.getvalue().to_pybytes()

    def test_the_rows_are_a_table(self):
        table, stream = self.rows()
        self.server.answers(self.PATH, Answer(body=stream))
        self.assertEqual(plumbline.query(self.server.url, "select 1"), table)

    def test_rows_that_break_off_are_asked_for_again(self):
        table, stream = self.rows()
        self.server.answers(self.PATH, Answer(body=stream, sent=0.6), Answer(body=stream))
        with self.assertLogs("plumbline"):
            self.assertEqual(plumbline.query(self.server.url, "select 1"), table)

    def test_a_statement_that_fails_is_an_error_and_tables_that_are_away_are_asked_again(self):
        self.server.answers(self.PATH, refused(400, "sql_failed"))
        with self.assertRaisesRegex(FeedError, "sql_failed"):
            plumbline.query(self.server.url, "select 1")
        self.server.answers(self.PATH, *[refused(503, "unavailable")] * 100)
        with self.assertLogs("plumbline"), self.assertRaises(UnavailableError):
            plumbline.query(self.server.url, "select 1", patience=0.3)
