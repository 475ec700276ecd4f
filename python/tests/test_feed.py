import time

from plumbline.errors import (
    CheckpointRefusedError,
    FeedError,
    FencedError,
    LeaseLostError,
    NotAllowedError,
    StaleGroupsError,
    UnavailableError,
)
from plumbline.feed import Feed
from tests.answering_server import NO_ANSWER, Answer, ServedTest, refused

AWAY = refused(503, "unavailable")


class Calls(ServedTest):
    def setUp(self):
        super().setUp()
        self.feed = Feed(self.server.url, "lab", patience=20)
        self.addCleanup(self.feed.close)

    def call(self, **options):
        return self.feed.call("POST", "/steps", {"step": 1}, **options)

    def test_a_feed_that_is_away_dies_or_breaks_off_is_asked_again_with_the_same_call(self):
        self.server.answers(
            "/steps", AWAY, AWAY, NO_ANSWER, Answer(body={"begun": 1}, sent=0.5), Answer(body={"begun": 1})
        )
        with self.assertLogs("plumbline") as logged:
            self.assertEqual(self.call(), {"begun": 1})
        self.assertEqual(self.server.bodies("/steps"), [{"step": 1}] * 5)
        # One line when it begins, and one when it is over.
        self.assertEqual(len(logged.output), 2)
        self.assertRegex(logged.output[0], "HTTP 503.*trying again")
        self.assertRegex(logged.output[1], "answers again")

    def test_a_feed_that_is_away_for_longer_than_the_patience_is_an_error_with_the_last_reason(self):
        self.server.answers("/steps", *[AWAY] * 100)
        begun = time.monotonic()
        with self.assertLogs("plumbline"), self.assertRaisesRegex(UnavailableError, "POST /steps: HTTP 503"):
            self.call(patience=0.3)
        self.assertLess(time.monotonic() - begun, 5)
        self.assertGreater(len(self.server.bodies("/steps")), 1)

    def test_no_server_at_all_is_an_error_after_the_patience(self):
        self.server.close()
        with self.assertLogs("plumbline"), self.assertRaisesRegex(UnavailableError, "ConnectError"):
            self.call(patience=0.2)

    def test_refusals_are_exceptions_with_code_and_groups_and_are_not_repeated(self):
        for code, kind in [("lease_lost", LeaseLostError), ("stale", StaleGroupsError), ("used", FeedError)]:
            self.server.answers("/steps", refused(409, code, groups=[4, 6]))
            with self.assertRaisesRegex(kind, f"{code}: as the test wants it") as raised:
                self.call()
            self.assertEqual((raised.exception.code, raised.exception.groups), (code, (4, 6)))
        self.assertEqual(len(self.server.bodies("/steps")), 3)

    def test_what_the_token_may_not_do_is_an_error_of_its_own_and_is_not_repeated(self):
        answers = [refused(401, "unauthorised"), refused(403, "forbidden"), Answer(403, b"<html>the proxy says no")]
        self.server.answers("/steps", *answers)
        for code in ("unauthorised", "forbidden", "http_403"):
            with self.assertRaises(NotAllowedError) as raised:
                self.call()
            self.assertEqual(raised.exception.code, code)
        self.assertEqual(len(self.server.bodies("/steps")), 3)

    def test_the_token_is_a_bearer_header_of_every_call_and_in_no_message(self):
        feed = Feed(self.server.url, "lab", patience=0.2, token="a-secret")
        self.addCleanup(feed.close)
        self.server.answers("/steps", AWAY, refused(401, "unauthorised"))
        with self.assertLogs("plumbline") as logged, self.assertRaises(NotAllowedError) as refusal:
            feed.call("POST", "/steps")
        self.assertEqual(self.server.authorizations, ["Bearer a-secret"] * 2)
        self.server.answers("/steps", *[NO_ANSWER] * 100)
        with self.assertRaises(UnavailableError) as away:
            feed.call("POST", "/steps")
        shown = [*logged.output, *map(repr, [refusal.exception, away.exception, feed, feed.__dict__])]
        self.assertNotIn("a-secret", "".join(shown))

    def test_a_token_that_no_header_can_have_is_refused_and_not_shown(self):
        for token in ("a-secret\n", "a-secret b", "gehe\u0301im", ""):
            with self.assertRaisesRegex(ValueError, "token: expected printable ASCII") as raised:
                Feed(self.server.url, "lab", patience=1, token=token)
            self.assertNotIn("secret", str(raised.exception))

    def test_a_refused_checkpoint_says_what_was_wrong_with_it(self):
        answer = refused(
            409,
            "incomplete",
            missing=[1, 2],
            superfluous=[],
            later=[9],
            ranks=[{"step": 3, "rank": 1}],
            broken_step=None,
        )
        self.server.answers("/steps", answer)
        with self.assertRaises(CheckpointRefusedError) as raised:
            self.call()
        error = raised.exception
        self.assertEqual((error.missing, error.superfluous, error.later), ((1, 2), (), (9,)))
        self.assertEqual((error.ranks, error.broken_step), (({"step": 3, "rank": 1},), None))
        self.assertIn("applied, but not named: 1, 2; used by a later step: 9; receipts that are missing", str(error))

    def test_an_answer_that_is_not_a_feeds_asks_whether_the_address_is_right(self):
        self.server.answers("/steps", Answer(404, b"<html>nothing here"), Answer(200, b"<html>hello"))
        with self.assertRaisesRegex(FeedError, "http_404: .*is the address right.*nothing here"):
            self.call()
        with self.assertRaisesRegex(FeedError, "not_json: .*is the address right.*hello"):
            self.call()
        with self.assertRaisesRegex(ValueError, "expected http://HOST:PORT, got '127.0.0.1:80'"):
            Feed("127.0.0.1:80", "lab", patience=1)

    def test_a_fenced_session_calls_no_more(self):
        self.server.answers("/steps", refused(409, "fenced"))
        for _ in range(2):
            with self.assertRaises(FencedError):
                self.call()
        self.assertEqual(len(self.server.bodies("/steps")), 1)
