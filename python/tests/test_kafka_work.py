import json
import unittest

from plumbline.errors import CheckpointRefusedError, FeedError, FencedError, LeaseLostError, StaleGroupsError
from plumbline.kafka import work
from tests.kafka_runs import RECEIPT, Log, group


class Steps(unittest.TestCase):
    def setUp(self):
        self.log = Log()
        [self.rank] = self.log.start()

    def test_a_group_is_begun_once_it_was_read_and_after_a_checkpoint_no_more(self):
        [first] = self.rank.read(group(0, 0))
        with self.assertRaisesRegex(FeedError, "used"):
            self.rank.work.begin(1, [99], {})
        self.rank.step(1, [first])
        self.rank.step(2, [first])
        self.rank.save(2, "one")
        with self.assertRaisesRegex(FeedError, "used"):
            self.rank.work.begin(3, [first], {})

    def test_steps_are_begun_in_order_and_one_at_a_time(self):
        first, second = self.rank.read(group(0, 0), group(0, 1))
        with self.assertRaisesRegex(FeedError, "expected step 1, got begin of step 2"):
            self.rank.work.begin(2, [first], {})
        self.rank.work.begin(1, [first], {})
        with self.assertRaisesRegex(FeedError, "expected the receipt of step 1 first"):
            self.rank.work.begin(2, [second], {})
        with self.assertRaisesRegex(FeedError, "not_begun"):
            self.rank.work.applied({"step": 2, **RECEIPT})

    def test_a_released_group_cannot_be_begun_until_it_is_given_out_again(self):
        [first] = self.rank.read(group(0, 0))
        self.assertEqual(self.rank.work.release([first, 99]), [first])
        with self.assertRaises(LeaseLostError) as lost:
            self.rank.work.begin(1, [first], {})
        self.assertEqual(lost.exception.groups, (first,))
        self.rank.work.give_again(first)
        self.rank.step(1, [first])

    def test_a_second_receipt_changes_nothing(self):
        self.rank.step(1, self.rank.read(group(0, 0)))
        self.rank.work.applied({"step": 1, **RECEIPT})
        self.assertEqual(len(self.rank.work.since(None)[0]["steps"]), 1)

    def test_too_many_groups_without_a_checkpoint_are_refused_with_the_remedy(self):
        self.rank.read(group(0, 0), group(0, 1))
        most, work.MOST_UNRECORDED = work.MOST_UNRECORDED, 2
        self.addCleanup(setattr, work, "MOST_UNRECORDED", most)
        with self.assertRaisesRegex(FeedError, "too_many_leased.*take a checkpoint"):
            self.rank.work.expect_room()


class Stale(unittest.TestCase):
    def test_a_group_that_is_too_old_is_dropped_when_it_is_read_and_when_its_step_begins(self):
        log = Log(max_staleness=1)
        [rank] = log.start()
        log.published["lab/r1"] = 3
        old, good, later = group(0, 0, 1, "lab/r1"), group(0, 1, 3, "lab/r1"), group(0, 2, 2, "lab/r1")
        good_number, later_number = rank.read(old, good, later)
        log.published["lab/r1"] = 4
        with self.assertRaisesRegex(StaleGroupsError, "version 2 is 2 behind 4, expected at most 1") as stale:
            rank.work.begin(1, [good_number, later_number], log.published)
        self.assertEqual(stale.exception.groups, (later_number,))
        rank.step(1, [good_number])
        drops = rank.work.since(None)[0]["drops"]
        self.assertEqual([each["reason"] for each in drops], ["stale", "stale"])
        rank.save(1, "one")
        self.assertEqual((log.state.open, log.state.drawn[0]), ({}, 3))


class Checkpoints(unittest.TestCase):
    def test_what_lies_before_a_recorded_group_waits_in_the_log_and_comes_again(self):
        log = Log()
        [rank] = log.start()
        _held, second = rank.read(group(0, 0), group(0, 1))
        rank.read(group(0, 2))
        rank.step(1, [second])
        rank.save(1, "one")
        # The first was passed over; the third lies behind what is recorded.
        self.assertEqual(list(log.state.open), [(0, 0)])
        self.assertEqual((log.state.first_unfinished(0), log.state.drawn[0]), (0, 2))

    def test_a_drop_after_the_last_receipt_belongs_to_the_next_checkpoint_and_its_group_is_not_lost(self):
        log = Log()
        [rank] = log.start()
        dropped, used = rank.read(group(0, 0), group(0, 1))
        rank.step(1, [used])
        rank.work.drop([dropped], "by_consumer", "")
        rank.save(1, "one")
        self.assertEqual(list(log.state.open), [(0, 0)])
        rank.step(2, rank.read(group(0, 2)))
        rank.save(2, "two")
        self.assertEqual((log.state.open, log.state.first_unfinished(0)), ({}, 3))

    def test_a_checkpoint_is_of_all_ranks_all_steps_and_one_epoch(self):
        log = Log()
        first, second = log.start(world_size=2)
        first.step(1, first.read(group(0, 0)))
        with self.assertRaises(CheckpointRefusedError) as refused:
            log.save(1, first.work.since(1), "one")
        self.assertEqual(refused.exception.ranks, ({"step": 1, "rank": 1},))
        second.step(1, second.read(group(1, 0)))
        second.step(2, second.read(group(1, 1)))
        with self.assertRaises(CheckpointRefusedError) as refused:
            log.save(1, first.work.since(1) + second.work.since(None), "one")
        self.assertEqual(refused.exception.superfluous, (3,))
        # As JSON, or however else it is gathered.
        given = json.loads(json.dumps(first.work.since(1) + second.work.since(1)))
        log.save(1, given, "one")
        self.assertEqual([each["sequence"] for each in log.state.checkpoints[0].groups], [0, 1])

        # A rank of an earlier start has its receipts still.
        again, _ = log.start("one", world_size=2)
        again.step(2, again.read(group(0, 1)))
        with self.assertRaises(CheckpointRefusedError):
            log.save(2, again.work.since(2) + second.work.since(2), "two")

    def test_a_group_that_a_later_step_uses_is_refused(self):
        log = Log()
        [rank] = log.start()
        used = rank.read(group(0, 0))
        rank.step(1, used)
        rank.work.begin(2, used, {})
        with self.assertRaises(CheckpointRefusedError) as refused:
            log.save(1, rank.work.since(1), "one")
        self.assertEqual(refused.exception.later, (0,))

    def test_what_is_no_receipt_is_refused_in_words(self):
        log = Log()
        log.start()
        with self.assertRaisesRegex(ValueError, r"since_checkpoint\(\) gave on every rank, got int"):
            log.save(1, [0, 1], "one")


class Starts(unittest.TestCase):
    def setUp(self):
        self.log = Log(keep_checkpoints=2)
        [rank] = self.log.start()
        for step in (1, 2, 3):
            rank.step(step, rank.read(group(0, step - 1)))
            rank.save(step, f"c{step}")

    def test_a_resume_rolls_back_what_later_checkpoints_made_durable_for_any_number_of_ranks(self):
        first, _ = self.log.start("c2", world_size=2)
        state = self.log.state
        self.assertEqual((state.run.epoch, state.run.step, list(state.open)), (2, 2, [(0, 2)]))
        self.assertEqual(state.first_unfinished(0), 2)
        self.assertEqual([saved.checkpoint for saved in state.checkpoints], ["c2"])

    def test_only_checkpoints_that_are_kept_can_be_resumed(self):
        for checkpoint, code in [("c1", "not_resumable"), ("c9", "unknown_checkpoint"), (None, "run_exists")]:
            with self.assertRaisesRegex(FeedError, code):
                self.log.start(checkpoint)

    def test_an_attempt_starts_once(self):
        self.log.attempts = 0
        with self.assertRaisesRegex(FencedError, "attempt 1 has begun epoch 1 before"):
            self.log.start("c3")

    def test_a_run_that_published_after_its_checkpoint_counts_in_a_child_lineage(self):
        self.log.published["lab/r1"] = 5
        self.log.start("c3")
        run, lineages = self.log.state.run, self.log.state.lineages
        self.assertEqual(run.lineage, "lab/r1~2")
        self.assertEqual(lineages.fork_of(run.lineage).version, -1)
        self.assertEqual(lineages.standing(run.lineage, "lab/r1", 3), "undone")

    def test_another_run_gets_what_this_one_has_not_made_durable(self):
        self.log.start(run="r2")
        self.assertEqual((self.log.state.open, self.log.state.first_unfinished(0)), ({}, 3))


class Retention(unittest.TestCase):
    def test_a_group_whose_record_is_gone_is_dropped_with_the_next_checkpoint(self):
        log = Log()
        [rank] = log.start()
        _held, second = rank.read(group(0, 0), group(0, 1))
        rank.step(1, [second])
        rank.save(1, "one")
        [again] = log.start("one")
        again.work.gone(log.state.open[0, 0])
        again.step(2, again.read(group(0, 2)))
        self.assertEqual([each["reason"] for each in again.work.since(2)[0]["drops"]], ["expired_unread"])
        again.save(2, "two")
        self.assertEqual((log.state.open, log.state.first_unfinished(0)), ({}, 3))

    def test_offsets_that_left_the_log_unread_are_recorded_once_and_what_was_read_before_them_waits(self):
        log = Log()
        [rank] = log.start()
        first, _held = rank.read(group(0, 0), group(0, 1))
        rank.work.expired("t", 0, 2, 7)
        rank.step(1, [first])
        [entry] = rank.work.since(1)
        gone = {"topic_id": "t", "partition": 0, "first_offset": 2, "until_offset": 7}
        self.assertEqual(entry["expired"], [gone])
        rank.save(1, "one")
        self.assertEqual((set(log.state.open), log.state.drawn[0]), ({(0, 1)}, 7))
        self.assertEqual(log.state.first_unfinished(0), 1)
        rank.step(2, rank.read(group(0, 7)))
        self.assertEqual(rank.work.since(2)[0]["expired"], [])
        rank.save(2, "two")
        [again] = log.start("two")
        # A reader that found them gone before it knew that this is recorded.
        again.work.expired("t", 0, 2, 7)
        number = log.state.number
        again.step(3, again.read(group(0, 8)))
        again.save(3, "three")
        types = ["run_started", "groups_leased", "step_begun", "groups_applied", "step_completed", "checkpoint_saved"]
        self.assertEqual(log.state.number - number, len(types) - 1)
