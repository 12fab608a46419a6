"""HTTP: the messages of tritonclient over urllib3, whose pool any number of threads may share.

tritonclient's own HTTP client belongs to one thread, and has one timeout for all its requests.
"""

import http.client
import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from lanner.errors import LannerError, MissingExtraError
from lanner.triton.client.refusal import server_error
from lanner.triton.client.transport import Address, Answer, input_tensors, queue_timeout_us

try:
    import urllib3
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
except ImportError as error:
    what = "talking to a Triton server"
    raise MissingExtraError(what, "triton", "tritonclient") from error

_HEADER_BYTES = "Inference-Header-Content-Length"
#: Connections that are kept; more than these are made and dropped.
_CONNECTIONS = 64
_CONNECT_S = 10.0


class HttpTransport:
    """See `lanner.triton.client.transport.Transport`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._has_answered = False
        host, _, port = address.host.rpartition(":")
        options: dict[str, Any] = {"maxsize": _CONNECTIONS, "retries": False}
        self._pool: urllib3.HTTPConnectionPool
        if address.is_encrypted:
            self._pool = urllib3.HTTPSConnectionPool(
                host, int(port), ssl_context=address.tls_context(), **options
            )
        else:
            self._pool = urllib3.HTTPConnectionPool(host, int(port), **options)

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        *,
        timeout_s: float | None,
        priority: int,
    ) -> Answer:
        """See `lanner.triton.client.transport.Transport.infer`."""
        body, header_bytes = InferenceServerClient.generate_request_body(
            input_tensors(inputs, InferInput),
            outputs=[InferRequestedOutput(name) for name in outputs],
            priority=priority,
            timeout=queue_timeout_us(timeout_s),
        )
        headers = {} if header_bytes is None else {_HEADER_BYTES: str(header_bytes)}
        path = f"{_path(model, version)}/infer"
        response = self._request("POST", path, model, version, timeout_s, body, headers)
        length = response.headers.get(_HEADER_BYTES)
        result = InferenceServerClient.parse_response_body(
            response.data, header_length=None if length is None else int(length)
        )
        answered = {name: result.as_numpy(name) for name in outputs}
        return Answer(answered, str(result.get_response()["model_version"]))

    def config(self, model: str, version: str) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Transport.config`."""
        path = f"{_path(model, version)}/config"
        found: dict[str, Any] = json.loads(self._request("GET", path, model, version).data)
        return found

    def versions(self, model: str) -> list[str]:
        """See `lanner.triton.client.transport.Transport.versions`."""
        found = json.loads(self._request("GET", _path(model, ""), model, "").data)
        return sorted(found["versions"], key=int)

    def server(self) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Monitor.server`."""
        found: dict[str, Any] = json.loads(self._request("GET", "/v2", "", "").data)
        return found

    def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """See `lanner.triton.client.transport.Monitor.statistics`."""
        path = f"{_path(model, version)}/stats"
        return list(json.loads(self._request("GET", path, model, version).data)["model_stats"])

    def close(self) -> None:
        """See `lanner.triton.client.transport.Transport.close`."""
        self._pool.close()

    def _request(
        self,
        method: str,
        path: str,
        model: str,
        version: str,
        timeout_s: float | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            response = self._pool.request(
                method,
                path,
                body=body,
                headers={**self._address.headers, **(headers or {})},
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=timeout_s, total=timeout_s),
            )
        except urllib3.exceptions.NewConnectionError as error:  # a timeout by its class alone
            raise self._unavailable(str(error).rpartition(": ")[2]) from None
        except urllib3.exceptions.TimeoutError:
            if timeout_s is None:  # it could not be connected to
                detail = f"no connection in {_CONNECT_S:.0f} s"
                raise self._unavailable(detail) from None
            code, detail = "DEADLINE_EXCEEDED", "the time is up"
            raise self._error(code, detail, model, version) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            cause = error.args[-1] if error.args else error
            # Of no protocol that is known here, and so perhaps not fit to be shown.
            is_strange = type(cause) is http.client.BadStatusLine
            detail = "what it says is no HTTP" if is_strange else str(cause)
            raise self._unavailable(detail) from None
        self._has_answered = True
        if response.status != 200:
            raise self._error(str(response.status), _reason(response.data), model, version)
        return response

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
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")
