import unittest

from plumbline.attempt import place_of

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "4",
    "TORCHELASTIC_RUN_ID": "job-7",
    "TORCHELASTIC_RESTART_COUNT": "2",
}


class Attempt(unittest.TestCase):
    def test_one_process_is_a_new_attempt_each_time(self):
        first, second = place_of({}), place_of({})
        self.assertEqual((first.rank, first.world_size), (0, 1))
        self.assertNotEqual(first.attempt, second.attempt)

    def test_ranks_of_torchrun_share_an_attempt_that_a_restart_changes(self):
        place = place_of(TORCHRUN)
        self.assertEqual((place.rank, place.world_size, place.attempt), (3, 4, "job-7/2"))
        self.assertEqual(place_of({**TORCHRUN, "RANK": "0"}).attempt, place.attempt)
        self.assertNotEqual(place_of({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "3"}).attempt, place.attempt)

    def test_arguments_come_before_the_environment(self):
        place = place_of(TORCHRUN, rank=1, world_size=2, attempt="mine")
        self.assertEqual((place.rank, place.world_size, place.attempt), (1, 2, "mine"))

    def test_several_ranks_without_an_attempt_are_refused_with_the_remedy(self):
        with self.assertRaisesRegex(ValueError, "world_size is 2, and no attempt is given.*broadcast_object_list"):
            place_of({}, rank=0, world_size=2)

    def test_an_attempt_that_two_starts_or_two_nodes_would_mistake_is_refused(self):
        with self.assertRaisesRegex(ValueError, "without an id.*--rdzv-id"):
            place_of({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"})
        with self.assertRaisesRegex(ValueError, "several nodes"):
            place_of({**TORCHRUN, "WORLD_SIZE": "8"})

    def test_a_rank_outside_of_the_world_is_refused(self):
        with self.assertRaisesRegex(ValueError, "rank: expected 0 … 3 for a world_size of 4, got 4"):
            place_of(TORCHRUN, rank=4)
        with self.assertRaisesRegex(ValueError, "RANK in the environment: expected a whole number, got 'x'"):
            place_of({"RANK": "x"})
