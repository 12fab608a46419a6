"""The OpenTelemetry collector that gets the spans of the service, by OTLP over HTTP.

Spans wait in a queue, which a thread sends from time to time. The variables of the environment are
those of OpenTelemetry's exporter and of its batch processor.
"""

import gzip
import logging
import os
import random
import ssl
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from email.message import Message
from urllib.parse import unquote, urlsplit

from lanner._version import __version__
from lanner.service import otlp

_LOG = logging.getLogger("opentelemetry.lanner")
_ROUTE = "/v1/traces"
#: Answers after which the same spans may be sent again, by the protocol.
_AGAIN = (429, 502, 503, 504)
#: Spans that are sent at once, and that wait, unless the environment says otherwise.
_MOST_SENT, _MOST_WAITING, _DELAY_MS, _TIMEOUT_S = 2_048, 16_384, 5_000.0, 10.0


class Collector:
    """A collector and the spans that wait for it.

    Args:
        url: Its address, or the full one of its route for traces; None for that of the environment.
        resource: What is known of this process.
    """

    def __init__(self, url: str | None, resource: Mapping[str, str | float]) -> None:
        self.url = _address(url)
        self._resource = dict(resource)
        self._headers = _headers()
        self._compression = (_variable("COMPRESSION") or "none").strip().lower()
        self._timeout_s = _float(_variable("TIMEOUT"), _TIMEOUT_S)
        self._context = _context() if self.url.startswith("https://") else None
        environ = os.environ
        self._delay_s = _float(environ.get("OTEL_BSP_SCHEDULE_DELAY"), _DELAY_MS) / 1e3
        self._most_waiting = int(_float(environ.get("OTEL_BSP_MAX_QUEUE_SIZE"), _MOST_WAITING))
        most_sent = int(_float(environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), _MOST_SENT))
        self._most_sent = max(1, min(most_sent, self._most_waiting))
        self._waiting: list[bytes] = []
        self._lock = threading.Lock()
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def add(self, *spans: bytes) -> None:
        """Let spans wait, from `otlp.span`; spans beyond the most that may wait are dropped."""
        with self._lock:
            waiting = self._waiting
            if len(waiting) + len(spans) > self._most_waiting:
                is_full = True
            else:
                waiting.extend(spans)
                is_full = False
            is_enough = len(waiting) >= self._most_sent
        if is_full:
            _LOG.warning("spans are dropped: more wait than may wait")
        if is_enough and not self._wake.is_set():
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Send the spans that wait, and end the thread; it may go on for a time-out if it hangs."""
        self._closed.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(self._delay_s)
            self._wake.clear()
            self._send_waiting()
        self._send_waiting()

    def _send_waiting(self) -> None:
        while True:
            with self._lock:
                spans = self._waiting[: self._most_sent]
                del self._waiting[: self._most_sent]
            if not spans:
                return
            try:
                self._send(otlp.request(spans, self._resource, "lanner", __version__))
            except Exception:  # noqa: BLE001 (the thread must go on, whatever a server answers)
                _LOG.exception("spans are lost")

    def _send(self, content: bytes) -> None:
        """Send one request, again and again until it is taken or the time is over."""
        headers = dict(self._headers)
        if self._compression in _COMPRESSIONS:
            content = _COMPRESSIONS[self._compression](content)
            headers["content-encoding"] = self._compression
        end_s = time.monotonic() + self._timeout_s
        pause_s = 1.0
        while True:
            begin_s = time.monotonic()
            said, after_s = self._post(content, headers, max(0.1, end_s - begin_s))
            if said is None:
                return
            wait_s = pause_s * random.uniform(0.8, 1.2) if after_s is None else after_s  # noqa: S311
            pause_s *= 2
            if wait_s < 0 or time.monotonic() + wait_s > end_s or self._closed.wait(wait_s):
                _LOG.error("spans are lost, because the collector does not take them: %s", said)
                return

    def _post(
        self, content: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[str | None, float | None]:
        """Send a request once.

        Returns:
            The reason if it was not taken, and the seconds after which to send it again: None for
            any, below zero for never.
        """
        asked = urllib.request.Request(self.url, content, dict(headers), method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=timeout_s, context=self._context) as answer:  # noqa: S310
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _AGAIN:
                return f"it answers {error.code}", -1.0
            return f"it answers {error.code}", _retry_after_s(error.headers)
        except OSError as error:
            return type(error).__name__, None
        return None, None


def _address(url: str | None) -> str:
    if url is None:
        if full := os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            return full
        url = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
        return url.removesuffix("/") + _ROUTE
    if urlsplit(url).path in ("", "/"):
        return url.removesuffix("/") + _ROUTE
    return url


def _variable(name: str) -> str | None:
    """Return a variable of the exporter: that of traces before that of everything."""
    for prefix in ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"):
        if value := os.environ.get(prefix + name):
            return value
    return None


def _headers() -> dict[str, str]:
    headers = {"content-type": "application/x-protobuf", "user-agent": f"lanner/{__version__}"}
    for pair in (_variable("HEADERS") or "").split(","):
        name, is_pair, value = pair.partition("=")
        if is_pair and name.strip():
            headers[unquote(name.strip()).lower()] = unquote(value.strip())
    return headers


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_variable("CERTIFICATE"))
    if own := _variable("CLIENT_CERTIFICATE"):
        context.load_cert_chain(own, _variable("CLIENT_KEY"))
    return context


def _float(text: str | None, otherwise: float) -> float:
    try:
        value = float(text or otherwise)
    except ValueError:
        return otherwise
    return value if value > 0 else otherwise


def _retry_after_s(headers: Message) -> float | None:
    given = headers.get("retry-after", "")
    return float(given) if given.isdigit() else None


_COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}
