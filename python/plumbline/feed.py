"""The feed over HTTP: one call, repeated until it is answered."""

from __future__ import annotations

import itertools
import logging
import os
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, TypeVar, Union
from urllib.parse import quote

import httpx

from plumbline.errors import FeedError, FencedError, UnavailableError, refusal
from plumbline.group import BrokenStreamError
from plumbline.whole_bodies import WholeBodies, is_direct

log = logging.getLogger("plumbline")

T = TypeVar("T")
# A file or folder of certificates to trust, or as httpx has it.
Verify = Union[bool, str, "os.PathLike[str]", ssl.SSLContext]

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
# What a proxy answers while the feed behind it restarts.
_AWAY = (502, 503, 504)


def json_of(response: httpx.Response) -> Any:
    if response.status_code == 204:
        return None
    try:
        return response.json()
    except ValueError as error:
        text = response.text[:200]
        raise FeedError("not_json", f"the answer is not one of a feed; is the address right? {text}") from error


class Feed:
    """Calls of one consumer, and those about none. Any thread may call."""

    def __init__(
        self, url: str, consumer: str, patience: float, token: str | None = None, verify: Verify = True
    ) -> None:
        address = httpx.URL(url)
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"url: expected http://HOST:PORT, got {url!r}")
        self.url = str(address).rstrip("/")
        self.patience = patience
        self.fenced: FencedError | None = None
        self.stopping = threading.Event()
        self._path = f"{self.url}/v1/consumers/{quote(consumer, safe='')}"
        auth, verifier = None if token is None else _Bearer(token), _verifier(verify)
        self._http = httpx.Client(auth=auth, verify=verifier)
        self._large = self._http
        if is_direct(address):
            context = httpx.create_ssl_context(verify=verifier)
            self._large = httpx.Client(auth=auth, transport=WholeBodies(context))
        self._troubled = False
        self._lock = threading.Lock()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        read: Callable[[httpx.Response], T] = json_of,
        waits: float = 0.0,
        patience: float | None = None,
        large: bool = False,
    ) -> T:
        """The answer to one call. The same body is sent until there is one, so that the feed knows a repeated call.

        `waits`: seconds that the feed may take on purpose. `large`: the answer may have megabytes. Raises FeedError
        where the feed refuses, and UnavailableError after `patience` seconds without an answer.
        """
        return self._repeat(
            f"{method} {path or '/'}",
            lambda: self._send(method, self._path + path, waits, large, json=body),
            read=read,
            patience=patience,
        )

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        parameters: Mapping[str, str] | None = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        length: int = 0,
        read: Callable[[httpx.Response], T] = json_of,
        waits: float = 0.0,
    ) -> T:
        """As `call`, about no consumer. `content` opens a body of `length` bytes anew for each attempt."""

        def send() -> httpx.Response:
            if content is None:
                return self._send(method, self.url + path, waits, json=body, params=parameters)
            headers = {"content-length": str(length)}
            return self._send(method, self.url + path, waits, content=content(), headers=headers)

        return self._repeat(f"{method} {path.partition('?')[0]}", send, read=read)

    def _repeat(
        self,
        what: str,
        send: Callable[[], httpx.Response],
        *,
        read: Callable[[httpx.Response], T],
        patience: float | None = None,
    ) -> T:
        patience = self.patience if patience is None else patience
        first_failure: float | None = None
        for pause in _pauses():
            self.check()
            try:
                response = send()
                trouble = (
                    f"HTTP {response.status_code} {response.text[:200]}" if response.status_code in _AWAY else None
                )
                if trouble is None:
                    answer = read(response) if response.is_success else None
            except (httpx.TransportError, BrokenStreamError) as error:
                trouble = f"{type(error).__name__}: {error}"
            if trouble is None:
                self._report_answer()
                if response.is_success:
                    return answer  # type: ignore[return-value]
                self._refuse(response)
            now = time.monotonic()
            first_failure = now if first_failure is None else first_failure
            self._report_trouble(str(trouble))
            left = first_failure + patience - now
            if left <= 0 or self.stopping.wait(min(pause, left)):
                raise UnavailableError("unavailable", f"{self.url}: {what}: {trouble}")
        raise AssertionError("pauses have no end")

    def check(self) -> None:
        """Raises FencedError once any call was answered so, those of other threads included."""
        if self.fenced is not None:
            raise FencedError("fenced", self.fenced.message)

    def _send(self, method: str, address: str, waits: float, large: bool = False, **sent: Any) -> httpx.Response:
        timeout = httpx.Timeout(_ANSWER_SECONDS, read=_ANSWER_SECONDS + waits)
        given = {name: value for name, value in sent.items() if value is not None}
        client = self._large if large else self._http
        return client.request(method, address, timeout=timeout, **given)

    def _refuse(self, response: httpx.Response) -> None:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        error = refusal(response.status_code, answer, response.text)
        if isinstance(error, FencedError):
            self.fenced = error
        raise error

    def _report_trouble(self, trouble: str) -> None:
        with self._lock:
            if self._troubled or self.stopping.is_set():
                return
            self._troubled = True
        log.warning("feed %s: %s; trying again", self.url, trouble)

    def _report_answer(self) -> None:
        with self._lock:
            if not self._troubled:
                return
            self._troubled = False
        log.warning("feed %s: answers again", self.url)

    def close(self) -> None:
        self._http.close()
        self._large.close()


def _verifier(verify: Verify) -> bool | ssl.SSLContext:
    if isinstance(verify, (bool, ssl.SSLContext)):
        return verify
    path = os.fspath(verify)
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


class _Bearer(httpx.Auth):
    """Sends the token, and shows it nowhere."""

    def __init__(self, token: str) -> None:
        # httpx would put the whole header into its message.
        if not re.fullmatch(r"[!-~]+", token):
            raise ValueError("token: expected printable ASCII characters without spaces")
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request

    def __repr__(self) -> str:
        return "<token>"


def _pauses() -> Iterator[float]:
    """Seconds, doubling, each drawn from the upper half so that ranks do not return together."""
    for doubling in itertools.count():
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(doubling, 20))
        yield longest * random.uniform(0.5, 1)
