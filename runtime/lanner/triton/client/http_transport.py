"""The HTTP transport: messages of tritonclient over urllib3, whose pool threads may share.

tritonclient's own HTTP client belongs to one thread, and has one timeout for all its requests.
"""

import http.client
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from numpy.typing import NDArray

from lanner.artifact.bounded import parse_json
from lanner.errors import LannerError, MissingExtraError, ServerError
from lanner.monitoring.traces import current_headers
from lanner.triton.client import responses
from lanner.triton.client.deadline import DeadlineSocket, current_deadline_s, socket_options
from lanner.triton.client.refusal import server_error
from lanner.triton.client.transport import (
    ANSWER_S,
    METADATA_S,
    MOST_BYTES,
    Address,
    ServerAnswer,
    input_tensors,
    queue_timeout_us,
)

try:
    import urllib3
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
    from urllib3.connection import HTTPConnection, HTTPSConnection
except ImportError as error:
    what = "talking to a Triton server"
    raise MissingExtraError(what, "triton", "tritonclient") from error

_HEADER_BYTES = "Inference-Header-Content-Length"
#: The connections that are kept open; further ones are closed after their request.
_CONNECTIONS = 64
_CONNECT_S = 10.0
#: The most of a refusal's text: a person reads no more.
_REFUSAL_BYTES = 2**16
_PIECE_BYTES = 2**16

_NO_HTTP = (http.client.BadStatusLine, http.client.LineTooLong, http.client.UnknownProtocol)

Found = TypeVar("Found")


class _Plain(HTTPConnection):
    """A connection whose socket keeps a deadline."""

    def connect(self) -> None:
        """Connect within the time of a connection."""
        super().connect()
        self.sock: Any = DeadlineSocket(self.sock)


class _Encrypted(HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        """Connect within the time of a connection."""
        super().connect()
        self.sock: Any = DeadlineSocket(self.sock)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Encrypted


class _Body(NamedTuple):
    """A complete answer.

    Attributes:
        data: The bytes of the body.
        header_bytes: The length of its JSON, from its header.
    """

    data: bytes
    header_bytes: str | None


class HttpTransport:
    """See `lanner.triton.client.transport.Transport`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._has_answered = False
        self._connections: urllib3.HTTPConnectionPool | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        *,
        timeout_s: float | None,
        priority: int,
    ) -> ServerAnswer:
        """See `lanner.triton.client.transport.Transport.infer`."""
        body, header_bytes = InferenceServerClient.generate_request_body(
            input_tensors(inputs, InferInput),
            outputs=[InferRequestedOutput(name) for name in outputs],
            priority=priority,
            timeout=queue_timeout_us(timeout_s),
        )
        headers = {} if header_bytes is None else {_HEADER_BYTES: str(header_bytes)}
        path = f"{_path(model, version)}/infer"
        body_of = self._request("POST", path, model, version, timeout_s, body, headers)
        answered, answered_by = self._read(
            path, lambda: responses.read_tensors(body_of.data, body_of.header_bytes, outputs)
        )
        return ServerAnswer(answered, answered_by)

    def config(self, model: str, version: str) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Transport.config`."""
        return self._object(f"{_path(model, version)}/config", model, version)

    def versions(self, model: str) -> list[str]:
        """See `lanner.triton.client.transport.Transport.versions`."""
        found = self._object(_path(model, ""), model, "")
        return self._read(_path(model, ""), lambda: responses.read_versions(found))

    def server(self) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Monitor.server`."""
        return self._object("/v2", "", "")

    def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """See `lanner.triton.client.transport.Monitor.statistics`."""
        path = f"{_path(model, version)}/stats"
        found = self._object(path, model, version)
        return self._read(path, lambda: list(found["model_stats"]))

    def close(self) -> None:
        """See `lanner.triton.client.transport.Transport.close`."""
        with self._lock:
            if self._connections is not None and self._pid == os.getpid():
                self._connections.close()
            self._connections = None

    @property
    def _pool(self) -> urllib3.HTTPConnectionPool:
        """Return this process's connections: processes that share one get each other's answers."""
        if self._connections is None or self._pid != os.getpid():
            with self._lock:
                if self._connections is None or self._pid != os.getpid():
                    self._connections, self._pid = self._connected(), os.getpid()
        return self._connections

    def _connected(self) -> urllib3.HTTPConnectionPool:
        host, _, port = self._address.host.rpartition(":")
        options: dict[str, Any] = {
            "maxsize": _CONNECTIONS,
            "retries": False,
            "socket_options": socket_options(),
        }
        if self._address.is_encrypted:
            options["ssl_context"] = self._address.tls_context()
            return _EncryptedPool(host, int(port), **options)
        return _PlainPool(host, int(port), **options)

    def _object(self, path: str, model: str, version: str) -> dict[str, Any]:
        body = self._request("GET", path, model, version, METADATA_S)
        return self._read(path, lambda: responses.read_object(body.data))

    def _read(self, path: str, read: Callable[[], Found]) -> Found:
        try:
            return read()
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            msg = (
                f"{self._address.url}{path} does not answer as Triton does ({error}): check what "
                "runs there, perhaps a proxy"
            )
            raise ServerError(msg) from None

    def _request(
        self,
        method: str,
        path: str,
        model: str,
        version: str,
        timeout_s: float | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Body:
        """Send a request and read all of its answer, both within the time limit."""
        allowed_s = ANSWER_S if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + allowed_s
        before = current_deadline_s.set(deadline_s)
        try:
            response = self._pool.urlopen(
                method,
                path,
                body=body,
                headers={
                    "Accept-Encoding": "identity",
                    **self._address.headers,
                    **current_headers.get(),
                    **(headers or {}),
                },
                timeout=urllib3.Timeout(connect=min(_CONNECT_S, allowed_s), read=allowed_s),
                preload_content=False,
                decode_content=False,
                redirect=False,
            )
            try:
                is_good = response.status == 200
                data = self._whole(response, MOST_BYTES if is_good else _REFUSAL_BYTES, deadline_s)
            except BaseException:
                response.close()  # nobody reads the rest
                raise
            response.release_conn()
        except urllib3.exceptions.NewConnectionError as error:  # a timeout by its class alone
            raise self._unavailable(str(error).rpartition(": ")[2]) from None
        except (urllib3.exceptions.TimeoutError, TimeoutError) as error:
            if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
                is_up = timeout_s is not None and time.monotonic() >= deadline_s
                detail = f"no connection in {_CONNECT_S:.0f} s"
            else:
                is_up = timeout_s is not None and body is not None
                detail = f"no whole answer in {allowed_s:.0f} s"
            if not is_up:
                raise self._unavailable(detail) from None
            code, detail = "DEADLINE_EXCEEDED", "the time is up"
            raise self._error(code, detail, model, version) from None
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            cause = error.args[-1] if error.args else error
            # The peer speaks another protocol, so its message may not be printable.
            is_strange = isinstance(cause, _NO_HTTP) and not isinstance(cause, OSError)
            detail = "what it says is no HTTP" if is_strange else str(cause)
            raise self._unavailable(detail) from None
        except (ValueError, AttributeError, AssertionError) as error:  # of headers without sense
            detail = f"what it says is no HTTP: {error}"
            raise self._unavailable(detail) from None
        finally:
            current_deadline_s.reset(before)
        self._has_answered = True
        if not is_good:
            raise self._error(str(response.status), _reason(data), model, version)
        return _Body(data, response.headers.get(_HEADER_BYTES))

    def _whole(self, response: Any, most_bytes: int, deadline_s: float) -> bytes:
        """Return the body of an answer, within the bounds.

        Raises:
            ServerError: It is longer, or compressed.
            TimeoutError: The deadline passes.
        """
        is_good = response.status == 200
        if is_good and response.headers.get("Content-Encoding", "identity").lower() != "identity":
            msg = (
                f"{self._address.url} answers compressed, although nobody asked for that: check "
                "what runs there"
            )
            raise ServerError(msg)
        pieces, size = [], 0
        while piece := response.read(_PIECE_BYTES, decode_content=False):
            size += len(piece)
            if size > most_bytes:
                if not is_good:
                    response.close()  # with what nobody reads
                    break
                msg = (
                    f"{self._address.url} answers more than {most_bytes:,} bytes: check what runs "
                    "there"
                )
                raise ServerError(msg)
            pieces.append(piece)
            if time.monotonic() > deadline_s:
                raise TimeoutError
        return b"".join(pieces)

    def _unavailable(self, detail: str) -> LannerError:
        return self._error("UNAVAILABLE", detail, model="", version="")

    def _error(self, code: str, detail: str, model: str, version: str) -> LannerError:
        return server_error(
            code,
            detail,
            address=self._address,
            model=model,
            version=version,
            has_answered=self._has_answered,
        )


def _path(model: str, version: str) -> str:
    return f"/v2/models/{model}" + (f"/versions/{version}" if version else "")


def _reason(body: bytes) -> str:
    try:
        return str(parse_json(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")
