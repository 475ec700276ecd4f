from plumbline.errors import NoVarianceError
from tests.answering_server import Answer, refused
from tests.lease_stream import completion, lease_stream
from tests.test_groups import APPLIED, BEGUN, ServedGroups, released

DROPPED = Answer(body={"dropped": 1, "released": 1})


def leased(varies, first=0):
    """Groups from number `first` on: a letter for each, `v` where the rewards vary."""
    rows = {first + at: [completion([1, 2], zero_variance=letter != "v")] for at, letter in enumerate(varies)}
    return Answer(body=lease_stream(rows))


class Drawing(ServedGroups):
    def setUp(self):
        super().setUp()
        self.server.answers("/steps", *[BEGUN] * 9)
        self.server.answers("/receipts", *[APPLIED] * 9)

    def steps(self, groups, size, **options):
        """Step number → the numbers of its groups."""
        trained = {}
        for step in groups.steps(size, with_variance=True, **options):
            trained[step.number] = [group.sequence for group in step.groups]
            step.applied()
        return trained

    def dropped(self):
        return [(body["groups"], body["reason"]) for body in self.server.bodies("/drops")]

    def test_groups_without_variance_are_dropped_before_the_step_that_they_were_drawn_for(self):
        self.server.answers("/leases", leased("-v--v-v"))
        self.server.answers("/drops", DROPPED, DROPPED)
        with self.open() as groups:
            self.assertEqual(self.steps(groups, 2), {1: [1, 4]})
        self.assertEqual(self.dropped(), [([0, 2, 3], "no_variance"), ([5], "no_variance")])
        self.assertEqual(self.server.bodies("/drops")[0]["detail"], "drawn for step 1: all completions have the same reward")
        self.assertEqual(released(self.server), [[6]])
        paths = [path for path, _ in self.server.requests if path in ("/drops", "/steps", "/receipts")]
        self.assertEqual(paths, ["/drops", "/steps", "/receipts", "/drops"])

    def test_without_the_option_they_are_trained_on(self):
        self.server.answers("/leases", leased("-v"))
        [step] = [step for step in self.open().steps(2) if step.applied() is None]
        self.assertEqual([group.sequence for group in step.groups], [0, 1])
        self.assertEqual(self.dropped(), [])

    def test_at_the_limit_a_step_begins_with_what_varies_and_the_next_one_with_what_came_after(self):
        self.server.answers("/leases", leased("-v--v--vvv"))
        self.server.answers("/drops", *[DROPPED] * 4)
        with self.open() as groups:
            # 1 + 5 draws end before 6; 7 is the first of the next window.
            self.assertEqual(self.steps(groups, 3, most_draws=5, when_short="begin"), {1: [1, 4], 2: [7, 8, 9]})
        self.assertEqual([groups for groups, _ in self.dropped()], [[0, 2, 3, 5], [6]])

    def test_at_the_limit_it_raises_unless_it_is_told_to_begin_and_what_varies_waits_again(self):
        self.server.answers("/leases", leased("v--v"))
        self.server.answers("/drops", DROPPED)
        groups = self.open()
        with self.assertRaisesRegex(NoVarianceError, "step 1: 1 of 2 groups vary within 3 draws") as raised:
            self.steps(groups, 2, most_draws=3)
        self.assertEqual(raised.exception.groups, (0,))
        self.assertEqual(self.dropped(), [([1, 2], "no_variance")])
        self.assertEqual(released(self.server), [[0, 3]])

    def test_where_none_varies_it_raises_in_any_case(self):
        for when_short in ("raise", "begin"):
            self.server.answers("/leases", leased("---v"))
            self.server.answers("/drops", DROPPED)
            with self.open() as groups, self.assertRaisesRegex(NoVarianceError, "none of 3 groups varies"):
                self.steps(groups, 2, most_draws=3, when_short=when_short)
        self.assertEqual(self.dropped(), [([0, 1, 2], "no_variance")] * 2)

    def test_a_run_that_resumes_has_the_same_steps_without_what_it_dropped_before(self):
        varies = "--v-v--v-vv---v--v----vv-v-vvv"
        self.server.answers("/leases", leased(varies))
        self.server.answers("/drops", *[DROPPED] * 99)
        with self.open() as groups:
            whole = self.steps(groups, 3, most_draws=6, when_short="begin")
        self.assertIn(2, [len(groups) for groups in whole.values()])
        for cut in range(2, len(varies), 6):
            # Everything up to here was dropped by the run that died; the rest of its groups come again.
            again = {at: [completion([1])] for at, letter in enumerate(varies) if letter == "v"}
            again |= {at: [completion([1], zero_variance=True)] for at in range(cut, len(varies)) if varies[at] != "v"}
            self.server.answers("/leases", Answer(body=lease_stream(dict(sorted(again.items())))))
            self.server.answers("/steps", *[BEGUN] * 9)
            self.server.answers("/receipts", *[APPLIED] * 9)
            self.server.answers("/releases", *[DROPPED] * 9)
            with self.open() as groups:
                self.assertEqual(self.steps(groups, 3, most_draws=6, when_short="begin"), whole, cut)

    def test_one_whose_lease_has_ended_is_not_dropped_and_the_others_are(self):
        self.server.answers("/leases", leased("-" * 3 + "v"))
        self.server.answers("/drops", refused(409, "lease_lost", groups=[1]), DROPPED)
        self.assertEqual(self.steps(self.open(), 1), {1: [3]})
        self.assertEqual([groups for groups, _ in self.dropped()], [[0, 1, 2], [0, 2]])

    def test_a_group_that_was_drawn_past_a_step_is_released_when_no_further_step_is_wanted(self):
        self.server.answers("/leases", leased("v--v"))
        self.server.answers("/drops", DROPPED)
        groups = self.open()
        for step in groups.steps(2, with_variance=True, most_draws=3, when_short="begin"):
            step.applied()
            break
        self.assertEqual(released(self.server), [[3]])

    def test_limits_that_mean_nothing_are_refused(self):
        groups = self.open()
        for problem, options in {
            "with_variance=True": {"most_draws": 4},
            "at least batch_size": {"with_variance": True, "most_draws": 1},
            "raise or begin": {"with_variance": True, "most_draws": 4, "when_short": "skip"},
        }.items():
            with self.assertRaisesRegex(ValueError, problem):
                next(groups.steps(2, **options))
