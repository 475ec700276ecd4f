"""A transport of httpx that reads an answer into one buffer of its length.

httpx's own transport reads 64 KiB at a time and copies each piece several times, which costs more than all that follows
when an answer has megabytes.
"""

from __future__ import annotations

import http.client
import select
import ssl
import threading
import time
import urllib.request
from typing import Any

import httpx

# As httpx has it; a feed closes its side a little later.
_IDLE_SECONDS = 4.0


def is_direct(address: httpx.URL) -> bool:
    """Whether the environment names no proxy for the address: `WholeBodies` knows none. NO_PROXY is left to httpx."""
    proxies = urllib.request.getproxies()
    return not any(proxies.get(kind) for kind in (address.scheme, "all"))


class WholeBodies(httpx.BaseTransport):
    """HTTP/1.1 by `http.client`, with connections that are kept alive. Any thread may send."""

    def __init__(self, verify: ssl.SSLContext) -> None:
        self._verify = verify
        self._idle: list[tuple[http.client.HTTPConnection, tuple[Any, ...], float]] = []
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        timeouts = request.extensions.get("timeout", {})
        place = (request.url.scheme, request.url.host, request.url.port)
        connection = self._kept(place) or self._connected(request.url, timeouts.get("connect"))
        try:
            answer = _exchanged(connection, request, body, timeouts)
            content = answer.read()
        except BaseException as error:
            connection.close()
            raise _as_of_httpx(error, request, httpx.ReadTimeout, httpx.ReadError) from error
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append((connection, place, time.monotonic()))
        headers = answer.getheaders()
        return httpx.Response(answer.status, headers=headers, stream=httpx.ByteStream(content))

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _, _ in idle:
            connection.close()

    def _kept(self, wanted: tuple[Any, ...]) -> http.client.HTTPConnection | None:
        """A connection that is idle, and that the server has not closed."""
        while True:
            with self._lock:
                at = next((at for at, (_, place, _) in enumerate(self._idle) if place == wanted), None)
                if at is None:
                    return None
                connection, _, since = self._idle.pop(at)
            if time.monotonic() - since < _IDLE_SECONDS and not _is_readable(connection):
                return connection
            connection.close()

    def _connected(self, url: httpx.URL, timeout: float | None) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPSConnection(url.host, url.port, timeout=timeout, context=self._verify)
            if url.scheme == "https"
            else http.client.HTTPConnection(url.host, url.port, timeout=timeout)
        )
        try:
            connection.connect()
        except BaseException as error:
            connection.close()
            raise _as_of_httpx(error, None, httpx.ConnectTimeout, httpx.ConnectError) from error
        return connection


def _exchanged(
    connection: http.client.HTTPConnection, request: httpx.Request, body: bytes, timeouts: dict[str, float | None]
) -> http.client.HTTPResponse:
    connection.sock.settimeout(timeouts.get("write"))
    target = request.url.raw_path.decode("ascii")
    connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.raw:
        connection.putheader(name, value)
    connection.endheaders(body or None)
    connection.sock.settimeout(timeouts.get("read"))
    return connection.getresponse()


def _is_readable(connection: http.client.HTTPConnection) -> bool:
    """Of an idle connection: the server has closed it, or sent what no call asked for."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _as_of_httpx(
    error: BaseException,
    request: httpx.Request | None,
    late: type[httpx.TransportError],
    broken: type[httpx.TransportError],
) -> BaseException:
    if isinstance(error, http.client.HTTPException):
        return httpx.RemoteProtocolError(f"{type(error).__name__}: {error}", request=request)
    if isinstance(error, TimeoutError):
        return late(str(error), request=request)
    return broken(str(error), request=request) if isinstance(error, OSError) else error
