"""A real HTTP server on a free port that answers as a test has written down, and fails as real ones do."""

import json
import ssl
import threading
import unittest
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONSUMER = "/v1/consumers/lab"


@dataclass
class Answer:
    status: int = 200
    body: object = field(default_factory=dict)
    """Bytes are an Arrow stream, all else is JSON."""
    sent: float = 1.0
    """How much of the body is sent before the connection breaks."""


NO_ANSWER = Answer(sent=-1)
"""The connection breaks after the request was read, as when a feed dies at work."""

RUN = Answer(
    body={
        "epoch": 3,
        "run": "r1",
        "world_size": 1,
        "lineage": "lab/r1",
        "checkpoint": None,
        "step": 0,
        "lease_ms": 60_000,
    }
)


def refused(status, error, **rest):
    return Answer(status, {"error": error, "message": "as the test wants it", **rest})


class AnsweringServer:
    def __init__(self, certificate=None):
        """`certificate`: a file of certificate and key, to speak HTTPS."""
        self.requests: list[tuple[str, dict]] = []
        """What came: path and body."""
        self.authorizations: list[str | None] = []
        """The header of each of them."""
        self._answers: dict[str, deque[Answer]] = defaultdict(deque)
        self._last = {
            "": Answer(),
            "/runs": RUN,
            "/leases": Answer(204, None),
            "/heartbeats": Answer(body={"leased": []}),
        }
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                body = sent if self.path.startswith("/v1/blobs/") else json.loads(sent or "null")
                server.authorizations.append(self.headers.get("authorization"))
                self.send(server.answer_to(self.path.removeprefix(CONSUMER), body))

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def send(self, answer):
                if answer.sent < 0:
                    self.close_connection = True
                    return
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                if answer.status == 204:
                    data = b""
                self.send_response(answer.status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data[: int(len(data) * answer.sent)])
                self.close_connection = answer.sent < 1

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=[0.01], daemon=True).start()

    def answers(self, path, *answers):
        """The next answers to calls of a path, in this order."""
        with self._lock:
            self._answers[path].extend(answers)

    def answer_to(self, path, body):
        with self._lock:
            self.requests.append((path, body))
            if self._answers[path]:
                return self._answers[path].popleft()
            return self._last.get(path, Answer(500, {"error": "unexpected", "message": path}))

    def bodies(self, path):
        with self._lock:
            return [body for called, body in self.requests if called == path]

    def close(self):
        self._http.shutdown()
        self._http.server_close()


class ServedTest(unittest.TestCase):
    def setUp(self):
        self.server = AnsweringServer()
        self.addCleanup(self.server.close)
