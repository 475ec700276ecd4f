import json
import os
import unittest

import pyarrow as pa

from plumbline.kafka.address import parse_address
from plumbline.kafka.declared import BY_TYPE
from plumbline.kafka.decisions import Decisions, parts_of
from plumbline.kafka.earlier import current_rows
from plumbline.kafka.state import State
from plumbline.kafka.wire import UnreadableError, batch_in, encode, expect_current, fact_in, partition_of, source_id

LEASED = {
    **{"run": "r1", "epoch": 1, "rank": 0, "lease": None, "request": "a", "sequence": 4, "topic_id": "t"},
    **{"partition": 0, "offset": 1, "group_id": "g", "policy_version_oldest": None, "lineage": None, "bytes": 9},
}


class Records(unittest.TestCase):
    def test_a_key_is_in_the_partition_that_kafkas_java_clients_give_it(self):
        # Vectors of Apache Kafka's own UtilsTest.testMurmur2.
        for text, signed in [("21", -973932308), ("foobar", -790332482), ("abc", 479470107)]:
            self.assertEqual(partition_of(text, 1 << 31), signed & 0x7FFFFFFF)
        self.assertEqual(partition_of("foobar", 8), (-790332482 & 0x7FFFFFFF) % 8)

    def test_an_event_has_the_id_that_the_feed_would_give_it(self):
        self.assertEqual(source_id(["feed", "lab", "1"]), "4ac3311a9c62d939b31d14c985299b3d")
        self.assertEqual(source_id(["feed", "Ωmega", "22"]), "47c4af98e5c2d60870808f8c6efc991b")

    def test_a_batch_is_read_back_with_the_schema_of_its_declaration(self):
        row = {"consumer": "lab", "number": 1, **LEASED}
        headers, value = encode("training.groups_leased", "i", "/feed/lab", "2026-01-01T00:00:00.000Z", "lab", [row])
        rows = batch_in(value)
        self.assertEqual(rows.to_pylist(), [row])
        self.assertEqual(rows.schema, BY_TYPE["training.groups_leased"].schema)
        self.assertIn(("content-type", b"application/vnd.apache.arrow.stream"), headers)

    def test_a_group_of_the_version_before_is_for_training_and_one_of_another_is_refused(self):
        schema = BY_TYPE["rollout.group_formed"].schema
        fields = [field for field in schema if field.name != "purpose"]
        before = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in fields], schema=pa.schema(fields))
        source = {"ce_dataschema": "plumbline:rollout.group_formed/2/cfb7bccadf52c0e0"}
        self.assertEqual(current_rows(source, "rollout.group_formed", before).schema, schema)
        rows = pa.RecordBatch.from_pydict({"group_size": [2, 2], "x": [1, 2]})
        read = current_rows(source, "rollout.group_formed", rows).to_pydict()
        self.assertEqual(read, {"group_size": [2, 2], "purpose": ["train", "train"], "x": [1, 2]})
        for uri in ["plumbline:rollout.group_formed/1/dca2ade0d3371eb4", ""]:
            with self.assertRaises(UnreadableError):
                current_rows({"ce_dataschema": uri}, "rollout.group_formed", rows)

    def test_a_value_that_is_none_is_refused(self):
        for read, value in [(batch_in, b"no stream"), (batch_in, None), (fact_in, b"[1]"), (fact_in, b"{")]:
            with self.assertRaises(UnreadableError):
                read(value)

    def test_a_number_that_json_does_not_have_is_refused(self):
        with self.assertRaises(ValueError):
            encode("training.step_completed", "i", "s", "t", "lab", {"loss": float("nan")})

    def test_many_rows_are_several_events_each_below_the_limit_and_numbered_on(self):
        rows = [{**LEASED, "sequence": number, "group_id": "g" * 1_000} for number in range(600)]
        decisions = Decisions(State("lab"))
        decisions.add_rows("training.groups_leased", "2026-01-01T00:00:00.000Z", rows)
        self.assertEqual(len(decisions.made), len(parts_of(rows)))
        self.assertGreater(len(decisions.made), 2)
        self.assertLess(max(len(each.value) for each in decisions.made), 512 * 1024)
        self.assertEqual([each.data[0]["number"] for each in decisions.made], [1, 2, 3][: len(decisions.made)])
        self.assertEqual([row["sequence"] for each in decisions.made for row in each.data], list(range(600)))


class Addresses(unittest.TestCase):
    def test_brokers_and_prefix_are_those_of_every_command(self):
        address = parse_address("kafka://one:1,two/mine", {})
        self.assertEqual(address.settings["bootstrap.servers"], "one:1,two:9092")
        self.assertEqual(address.prefixed("feed/lab"), "mine.feed/lab")
        self.assertEqual(address.shown("mine.training.run_started"), "training.run_started")
        self.assertEqual(address.settings["security.protocol"], "PLAINTEXT")

    def test_the_login_is_that_of_the_environment(self):
        login = {"PLUMBLINE_KAFKA_SASL": "scram-sha-256", "PLUMBLINE_KAFKA_USERNAME": "u"}
        with self.assertRaisesRegex(ValueError, "_PASSWORD"):
            parse_address("kafka://one", login)
        secret = {"PLUMBLINE_KAFKA_PASSWORD": "p", "PLUMBLINE_KAFKA_TLS": "1"}
        settings = parse_address("kafka://one", {**login, **secret}).settings
        self.assertEqual(settings["security.protocol"], "SASL_SSL")
        self.assertEqual(settings["sasl.mechanism"], "SCRAM-SHA-256")

    def test_a_password_in_an_address_is_not_shown(self):
        with self.assertRaises(ValueError) as refused:
            parse_address("kafka://me:secret@one:1", dict(os.environ))
        self.assertNotIn("secret", str(refused.exception))


class Declared(unittest.TestCase):
    def test_an_earlier_version_with_the_same_rows_is_read_and_any_other_is_not(self):
        dropped = "training.groups_dropped"
        # As the release before `no_variance` wrote it.
        expect_current({"ce_dataschema": f"plumbline:{dropped}/1/87bb053eb804dda1"}, dropped)
        expect_current({"ce_dataschema": BY_TYPE[dropped].uri}, dropped)
        for uri in (f"plumbline:{dropped}/1/0000000000000000", f"plumbline:{dropped}/3/87bb053eb804dda1"):
            with self.assertRaisesRegex(UnreadableError, "written by another release"):
                expect_current({"ce_dataschema": uri}, dropped)
        # Its rows had other fields.
        self.assertEqual(BY_TYPE["rollout.group_formed"].alike, ())

    def test_a_fact_has_no_schema_and_a_batch_has_one(self):
        self.assertIsNone(BY_TYPE["training.run_started"].schema)
        self.assertIsInstance(BY_TYPE["rollout.group_formed"].schema, pa.Schema)
        self.assertEqual(json.loads(json.dumps(BY_TYPE["model.published"].uri)).split("/")[0], "plumbline:model.published")
