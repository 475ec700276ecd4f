import socket
import threading
import time
import unittest
from unittest import mock

import httpx

from plumbline.whole_bodies import WholeBodies, is_direct

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Scripted:
    """A socket on a free port that answers each connection with the pieces of its script, a piece for each request."""

    def __init__(self, *scripts):
        self.connections = 0
        self.sent: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.ended = [threading.Event() for _ in scripts]
        threading.Thread(target=self._serve, args=[scripts], daemon=True).start()

    def _serve(self, scripts):
        for script, ended in zip(scripts, self.ended, strict=True):
            connection, _ = self._listening.accept()
            self.connections += 1
            with connection:
                for answer in script:
                    self.sent.append(connection.recv(65_536))
                    if answer is None:
                        time.sleep(0.5)
                    else:
                        connection.sendall(answer)
            ended.set()

    def close(self):
        self._listening.close()


class Connections(unittest.TestCase):
    def serve(self, *scripts):
        server = Scripted(*scripts)
        self.addCleanup(server.close)
        client = httpx.Client(transport=WholeBodies(httpx.create_ssl_context()), timeout=5)
        self.addCleanup(client.close)
        return server, client

    def test_a_connection_is_kept_for_the_next_call(self):
        server, client = self.serve([WHOLE, WHOLE])
        for _ in range(2):
            self.assertEqual(client.get(f"{server.url}/a?b=c").json(), {})
        self.assertEqual(server.connections, 1)
        self.assertRegex(server.sent[1], rb"^GET /a\?b=c HTTP/1.1\r\n")

    def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used_again(self):
        server, client = self.serve([WHOLE], [WHOLE])
        client.get(server.url)
        self.assertTrue(server.ended[0].wait(5))
        self.assertEqual(client.get(server.url).json(), {})
        self.assertEqual(server.connections, 2)

    def test_an_answer_that_is_cut_off_is_a_transport_error_and_its_connection_is_closed(self):
        server, client = self.serve([WHOLE[:-1]], [b"no HTTP\r\n\r\n"], [WHOLE])
        for _ in range(2):
            with self.assertRaises(httpx.RemoteProtocolError):
                client.get(server.url)
        self.assertEqual(client.get(server.url).json(), {})

    def test_an_answer_without_end_in_time_is_a_timeout(self):
        server, client = self.serve([None])
        with self.assertRaises(httpx.ReadTimeout):
            client.get(server.url, timeout=0.05)

    def test_chunks_and_a_server_that_closes_are_read_to_the_end(self):
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
        server, client = self.serve([chunked, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}"], [WHOLE])
        for _ in range(3):
            self.assertEqual(client.get(server.url).json(), {})

    def test_no_server_is_a_connect_error(self):
        server, client = self.serve()
        server.close()
        with self.assertRaises(httpx.ConnectError):
            client.get(server.url)


class Proxies(unittest.TestCase):
    def test_an_address_for_which_the_environment_has_a_proxy_is_left_to_httpx(self):
        address = httpx.URL("http://feed:8470")
        for name, direct in [("http_proxy", False), ("all_proxy", False), ("https_proxy", True)]:
            with mock.patch.dict("os.environ", {name: "http://proxy:3128"}, clear=True):
                self.assertEqual(is_direct(address), direct, name)
