import plumbline
from plumbline.errors import FeedError
from tests.answering_server import Answer, ServedTest, refused

# The path of the consumer itself.
LAB = ""


class Retiring(ServedTest):
    def test_a_consumer_of_a_feed_is_ended_with_its_reason(self):
        self.server.answers(LAB, Answer(503, {"error": "unavailable", "message": "busy"}), Answer(body={"consumer": "lab"}))
        with self.assertLogs("plumbline"):
            plumbline.retire(self.server.url, consumer="lab", reason="done", token="t", patience=20)
        self.assertEqual(self.server.bodies(LAB), [{"reason": "done"}] * 2)
        self.assertEqual(set(self.server.authorizations), {"Bearer t"})

    def test_a_refusal_is_an_error_with_its_code(self):
        self.server.answers(LAB, refused(409, "other_transport"))
        with self.assertRaises(FeedError) as caught:
            plumbline.retire(self.server.url, consumer="lab", patience=20)
        self.assertEqual(caught.exception.code, "other_transport")

    def test_either_a_feed_or_a_log_is_named(self):
        for place in ({}, {"url": "http://127.0.0.1:1", "kafka": "kafka://127.0.0.1:1"}):
            with self.assertRaises(TypeError):
                plumbline.retire(consumer="lab", **place)
        with self.assertRaises(TypeError):
            plumbline.retire(kafka="kafka://127.0.0.1:1", consumer="lab", token="t")
