import logging
import os
import pathlib
import pickle
import tempfile
import time
import unittest.mock

import numpy as np

from plumbline.checkpoint import CheckpointFolder
from plumbline.errors import CheckpointRefusedError, FeedError, FencedError, LeaseLostError, UnavailableError
from plumbline.groups import Groups
from tests.answering_server import NO_ANSWER, RUN, Answer, ServedTest, refused
from tests.lease_stream import completion, lease_stream

WEIGHTS = {"w": np.zeros(2, np.float32)}
DURABLE = Answer(body={"durable": 1})
BEGUN = Answer(body={"begun": 1})
APPLIED = Answer(body={"applied": 1})
INCOMPLETE = {"missing": [], "superfluous": [], "later": [], "ranks": [], "broken_step": None}


def leased(*sequences, lease=17):
    return Answer(body=lease_stream({sequence: [completion([1, 2])] for sequence in sequences}, lease))


def started(**changes):
    return Answer(body={**RUN.body, **changes})


def released(server):
    """The sequence numbers of each release; every one of them names its lease."""
    calls = [body["groups"] for body in server.bodies("/releases")]
    assert all(each["lease"] >= 1 for groups in calls for each in groups), calls
    return [sorted(each["sequence"] for each in groups) for groups in calls]


class ServedGroups(ServedTest):
    def setUp(self):
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = pathlib.Path(temporary.name)
        self.server.answers("/releases", *[Answer(body={"released": 1})] * 9)
        logging.getLogger("plumbline").setLevel(logging.ERROR)
        self.addCleanup(logging.getLogger("plumbline").setLevel, logging.NOTSET)

    def open(self, **options):
        groups = Groups(self.server.url, consumer="lab", run="r1", **{"stop_when_idle": 0, "patience": 20, **options})
        self.addCleanup(groups.close)
        return groups

    def wait_for(self, condition):
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not happen within 20 seconds")
            time.sleep(0.01)


class Leasing(ServedGroups):
    def test_groups_of_several_leases_come_in_order_and_end_when_none_is_left(self):
        self.server.answers("/leases", leased(0, 1), leased(2))
        with self.open() as groups:
            self.assertEqual([group.sequence for group in groups], [0, 1, 2])
        self.assertEqual([path for path, _ in self.server.requests][:3], ["", "/runs", "/leases"])

    def test_the_token_is_the_argument_or_that_of_the_environment(self):
        with unittest.mock.patch.dict(os.environ, {"PLUMBLINE_FEED_TOKEN": "from-the-environment"}):
            with self.open() as groups:
                self.assertNotIn("from-the-environment", f"{groups!r} {groups.__dict__} {groups._transport.feed.__dict__}")
            self.open(token="from-the-argument")
        with unittest.mock.patch.dict(os.environ, {"PLUMBLINE_FEED_TOKEN": ""}):
            self.open()
        self.assertEqual(self.server.authorizations, ["Bearer from-the-environment", "Bearer from-the-argument", None])

    def test_only_the_options_that_are_given_are_sent(self):
        self.open(filter={"task": "x_only"}, max_staleness=2).close()
        self.assertEqual(self.server.bodies(""), [{"filter": {"task": "x_only"}, "max_staleness": 2}])

    def test_purposes_are_sent_as_part_of_the_filter(self):
        self.open(filter={"task": "x_only"}, purposes=["eval"]).close()
        self.assertEqual(self.server.bodies(""), [{"filter": {"task": "x_only", "purposes": ["eval"]}}])
        with self.assertRaisesRegex(TypeError, "purposes: expected a list"):
            self.open(purposes="eval")

    def test_a_lease_whose_answer_breaks_off_is_asked_for_under_the_same_id(self):
        whole = leased(0, 1)
        # The last batch is missing, which HTTP cannot see.
        cut = Answer(body=lease_stream({0: [completion()], 1: [completion()]})[:-400])
        self.server.answers("/leases", NO_ANSWER, Answer(body=whole.body, sent=0.6), cut, whole)
        with self.open() as groups:
            self.assertEqual([group.sequence for group in groups], [0, 1])
        ids = [body["request"] for body in self.server.bodies("/leases")]
        self.assertEqual(len(set(ids[:4])), 1)
        self.assertNotIn(ids[0], ids[4:])

    def test_a_lease_that_was_never_answered_is_asked_for_under_the_same_id_later(self):
        self.server.answers("/leases", NO_ANSWER, leased(0))
        groups = self.open(patience=0)
        with self.assertRaises(UnavailableError):
            next(groups)
        self.assertEqual(next(groups).sequence, 0)
        first, second = self.server.bodies("/leases")[:2]
        self.assertEqual(first["request"], second["request"])

    def test_at_most_one_lease_is_ahead_of_the_reader(self):
        self.server.answers("/leases", *[leased(at) for at in range(9)])
        groups = self.open()
        next(groups)
        self.wait_for(lambda: len(self.server.bodies("/leases")) == 2)
        time.sleep(0.1)
        self.assertEqual(len(self.server.bodies("/leases")), 2)

    def test_closing_releases_what_was_leased_and_not_begun(self):
        self.server.answers("/leases", leased(0, 1, 2), leased(3))
        self.server.answers("/steps", BEGUN)
        groups = self.open()
        first, _second = next(groups), next(groups)
        groups.begin_step([first])
        self.wait_for(lambda: len(self.server.bodies("/leases")) == 2)
        groups.close()
        self.assertEqual(released(self.server), [[1, 2, 3]])
        with self.assertRaisesRegex(RuntimeError, "closed"):
            next(groups)

    def test_a_rank_that_has_too_many_groups_is_told_when_it_asks_for_more(self):
        self.server.answers("/leases", leased(0), *[refused(429, "too_many_leased")] * 3)
        groups = self.open()
        next(groups)
        with self.assertRaisesRegex(FeedError, "too_many_leased"):
            next(groups)

    def test_what_was_refused_ahead_of_the_reader_is_tried_again_when_it_asks(self):
        self.server.answers("/leases", leased(0), refused(429, "too_many_leased"), leased(1))
        groups = self.open()
        next(groups)
        self.wait_for(lambda: len(self.server.bodies("/leases")) == 2)
        self.wait_for(lambda: groups._leases._thread is None)
        self.assertEqual(next(groups).sequence, 1)

    def test_closing_does_not_wait_for_a_feed_that_is_away(self):
        groups = self.open(patience=300)
        self.server.answers("/leases", leased(0), *[NO_ANSWER] * 99)
        self.server._answers["/releases"].clear()
        self.server.answers("/releases", NO_ANSWER)
        next(groups)
        begun = time.monotonic()
        groups.close()
        self.assertLess(time.monotonic() - begun, 4)


class Sessions(ServedGroups):
    def test_heartbeats_go_out_while_the_trainer_computes(self):
        self.server.answers("/runs", started(lease_ms=100))
        self.assertEqual(self.open().epoch, 3)
        self.wait_for(lambda: len(self.server.bodies("/heartbeats")) >= 3)
        self.assertEqual(self.server.bodies("/heartbeats")[0], {"epoch": 3, "rank": 0})

    def test_a_fenced_heartbeat_ends_the_next_call(self):
        self.server.answers("/runs", started(lease_ms=100))
        self.server.answers("/leases", leased(0, 1))
        groups = self.open()
        next(groups)
        self.server.answers("/heartbeats", NO_ANSWER, refused(409, "fenced"))
        self.wait_for(lambda: len(self.server.bodies("/heartbeats")) >= 2)
        self.wait_for(lambda: groups._transport.feed.fenced is not None)
        with self.assertRaises(FencedError):
            next(groups)

    def test_another_process_can_neither_use_nor_be_sent_these_groups(self):
        self.server.answers("/leases", leased(0))
        groups = self.open()
        next(groups)
        with self.assertRaisesRegex(TypeError, "num_workers=0"):
            pickle.dumps(groups)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                next(groups)
            except RuntimeError as error:
                os.write(writer, str(error).encode())
            groups.close()
            os._exit(0)
        os.waitpid(child, 0)
        self.assertIn("num_workers=0", os.read(reader, 1000).decode())
        self.assertEqual(self.server.bodies("/releases"), [])


class Stepping(ServedGroups):
    def test_a_step_is_begun_with_its_leases_and_reported_with_what_was_measured(self):
        self.server.answers("/leases", leased(4, 6, lease=21))
        self.server.answers("/steps", BEGUN)
        self.server.answers("/receipts", NO_ANSWER, APPLIED)
        groups = self.open()
        step = groups.begin_step([next(groups), next(groups)])
        step.applied(
            loss=np.float32(0.5), grad_norm=float("inf"), tokens=4, seconds=2, metrics={"kl": 1, "ratio": float("nan")}
        )
        leases = [{"sequence": 4, "lease": 21}, {"sequence": 6, "lease": 21}]
        self.assertEqual(self.server.bodies("/steps"), [{"epoch": 3, "rank": 0, "step": 1, "groups": leases}])
        receipt = {"step": 1, "loss": 0.5, "grad_norm": None, "tokens": 4, "seconds": 2.0, "metrics": {"kl": 1.0}}
        self.assertEqual(self.server.bodies("/receipts"), [{"epoch": 3, "rank": 0, **receipt}] * 2)
        self.assertEqual(groups.since_checkpoint(), [4, 6])

    def test_steps_replace_what_is_stale_lost_or_dropped_since(self):
        self.server.answers("/leases", leased(7, 0, 1, 2), leased(3, 1, lease=18), leased(5))
        stale, lost = refused(409, "stale", groups=[0]), refused(409, "lease_lost", groups=[1])
        self.server.answers("/steps", refused(409, "used", groups=[7]), stale, lost, BEGUN, BEGUN)
        self.server.answers("/receipts", APPLIED, APPLIED)
        groups = self.open()
        trained = []
        for step in groups.steps(2):
            trained.append((step.number, [(group.sequence, group.lease) for group in step.groups]))
            step.applied()
        # 7 was dropped; 0 was stale; 1 was lost and leased again; 5 alone is no whole step.
        self.assertEqual(trained, [(1, [(2, 17), (3, 18)]), (2, [(1, 18), (5, 17)])])

    def test_a_rest_that_is_no_whole_step_waits_again(self):
        self.server.answers("/leases", leased(0))
        self.assertEqual(list(self.open().steps(2)), [])
        self.assertEqual(released(self.server), [[0]])

    def test_a_step_without_receipt_is_noticed_before_the_next(self):
        self.server.answers("/leases", leased(0, 1))
        self.server.answers("/steps", BEGUN)
        groups = self.open()
        with self.assertRaisesRegex(RuntimeError, "step 1 has no receipt"):
            for _ in groups.steps(1):
                pass
        with self.assertRaisesRegex(RuntimeError, "step 1 is begun and has no receipt"):
            groups.begin_step([next(groups)])

    def test_a_receipt_whose_leases_were_lost_is_an_error_and_counts_nothing(self):
        self.server.answers("/leases", leased(0))
        self.server.answers("/steps", BEGUN)
        self.server.answers("/receipts", refused(409, "lease_lost", groups=[0]))
        groups = self.open()
        with self.assertRaises(LeaseLostError):
            groups.begin_step([next(groups)]).applied()
        self.assertEqual(groups.since_checkpoint(), [])

    def test_dropped_and_released_groups_are_not_released_again(self):
        self.server.answers("/leases", leased(0, 1))
        self.server.answers("/drops", Answer(body={"dropped": 1}))
        with self.open() as groups:
            first, second = groups
            self.assertEqual(groups.drop([first], detail="too long"), 1)
            self.assertEqual(groups.release([second]), 1)
        self.assertEqual(self.server.bodies("/drops")[0]["reason"], "by_consumer")
        self.assertEqual(len(self.server.bodies("/releases")), 1)


class Checkpointing(ServedGroups):
    def trained(self, *sequences, **options):
        """Groups that have taken a step on each of the sequences."""
        self.server.answers("/leases", leased(*sequences))
        self.server.answers("/steps", *[BEGUN for _ in sequences])
        self.server.answers("/receipts", *[APPLIED for _ in sequences])
        groups = self.open(**options)
        for step in groups.steps(1):
            step.applied()
        return groups

    def files(self):
        return sorted(file.suffix for file in self.path.iterdir())

    def test_files_are_there_before_the_receipt_which_is_repeated_until_it_is_answered(self):
        groups = self.trained(0, 1, 2, patience=0)
        self.server.answers("/checkpoints", NO_ANSWER, refused(503, "unavailable"), DURABLE)
        seen, answer_to = [], self.server.answer_to

        def watching(path, body):
            if path == "/checkpoints":
                seen.append(self.files())
            return answer_to(path, body)

        self.server.answer_to = watching
        first = groups.checkpoint(self.path, 2, WEIGHTS, extra={"seed": 1})
        self.assertEqual(seen, [[".json", ".safetensors"]] * 3)
        body = self.server.bodies("/checkpoints")[0]
        self.assertEqual(self.server.bodies("/checkpoints"), [body] * 3)
        self.assertEqual((body["checkpoint"], body["parent"], body["step"], body["groups"]), (first, None, 2, [0, 1]))
        saved = CheckpointFolder(self.path).complete(first)
        self.assertEqual((saved.groups, saved.epoch, saved.weights_sha256), ([0, 1], 3, body["weights_sha256"]))

        self.assertEqual(groups.since_checkpoint(), [2])
        self.server.answers("/checkpoints", DURABLE)
        groups.checkpoint(self.path, 3, weights_sha256="ab" * 32)
        body = self.server.bodies("/checkpoints")[-1]
        self.assertEqual((body["parent"], body["groups"], body["weights_sha256"]), (first, [2], "ab" * 32))

    def test_the_files_of_a_refused_checkpoint_are_removed(self):
        groups = self.trained(0)
        self.server.answers("/checkpoints", refused(409, "incomplete", **{**INCOMPLETE, "missing": [8]}))
        with self.assertRaisesRegex(CheckpointRefusedError, "applied, but not named: 8"):
            groups.checkpoint(self.path, 1, WEIGHTS)
        self.assertEqual(self.files(), [])
        self.assertEqual(groups.since_checkpoint(), [0])

    def test_rank_0_of_several_names_the_groups_of_all_of_them(self):
        groups = self.trained(0, 2, rank=0, world_size=2, attempt="a1")
        with self.assertRaisesRegex(ValueError, "all_gather_object"):
            groups.checkpoint(self.path, 2, WEIGHTS)
        with self.assertRaisesRegex(ValueError, r"this rank has also applied \[0\]"):
            groups.checkpoint(self.path, 2, WEIGHTS, groups=[1, 2, 3])
        self.server.answers("/checkpoints", DURABLE)
        groups.checkpoint(self.path, 2, WEIGHTS, groups=[0, 2, 3, 1])
        self.assertEqual(self.server.bodies("/checkpoints")[0]["groups"], [0, 1, 2, 3])

    def test_other_ranks_are_told_of_a_checkpoint_and_take_none(self):
        groups = self.trained(1, 3, rank=1, world_size=2, attempt="a1")
        with self.assertRaisesRegex(RuntimeError, "rank 0 takes the checkpoint"):
            groups.checkpoint(self.path, 2, WEIGHTS, groups=[1, 3])
        groups.checkpointed("step-1", 1)
        self.assertEqual(groups.since_checkpoint(), [3])

    def saved(self, *steps):
        names = []
        groups = self.trained(*range(len(steps)))
        self.server.answers("/checkpoints", *[DURABLE for _ in steps])
        for step in steps:
            names.append(groups.checkpoint(self.path, step, {"w": np.full(2, step)}))
        groups.close()
        return names

    def recorded(self, *names):
        """The feed's list; the first answer of GET comes after that of PUT."""
        listed = [{"checkpoint": name, "run": "r1", "step": at + 1} for at, name in enumerate(names)]
        other = {"checkpoint": "of-another-run", "run": "r2", "step": 9}
        self.server.answers("", Answer(), Answer(body={"checkpoints": [*listed, other]}))

    def test_a_run_resumes_from_the_newest_checkpoint_that_the_feed_has_recorded_and_that_is_complete(self):
        first, second, _unrecorded = self.saved(1, 2, 3)
        file = CheckpointFolder(self.path).weights_file(second)
        os.truncate(file, file.stat().st_size - 1)
        self.recorded(first, second)
        self.server.answers("/runs", started(epoch=4, checkpoint=first, step=1))
        groups = self.open()
        resumed = groups.resume(self.path)
        self.assertEqual([body["resume"] for body in self.server.bodies("/runs")], [None, first])
        self.assertEqual((resumed.step, resumed.checkpoint, resumed.weights["w"].tolist()), (1, first, [1, 1]))
        self.server.answers("/leases", leased(9))
        self.server.answers("/steps", BEGUN)
        self.assertEqual(next(groups.steps(1)).number, 2)

    def test_without_checkpoint_the_run_starts_from_nothing(self):
        self.recorded()
        resumed = self.open().resume(self.path / "none")
        self.assertEqual((resumed.step, resumed.weights, resumed.checkpoint), (0, None, None))
        self.assertEqual(self.server.bodies("/runs")[0]["resume"], None)

    def test_a_run_that_has_started_is_not_resumed(self):
        groups = self.open()
        self.assertEqual(groups.lineage, "lab/r1")
        with self.assertRaisesRegex(RuntimeError, "before anything else"):
            groups.resume(self.path)
