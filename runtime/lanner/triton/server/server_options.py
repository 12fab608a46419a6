"""The options of tritonserver that a user gives, as far as Lanner must understand them."""

from collections.abc import Sequence
from pathlib import Path

from lanner.errors import UsageError
from lanner.triton.client.certificates import require_certificate, require_key_pair

#: Options that Lanner sets itself, because it needs their values to reach the server.
_OWN = ("--http-port", "--grpc-port", "--metrics-port", "--allow-http", "--allow-grpc")
_TRUE = ("1", "true")
#: Options whose values are paths: the server starts in a directory of its own.
_PATHS = (
    "--model-repository",
    "--model-store",
    "--grpc-server-cert",
    "--grpc-server-key",
    "--grpc-root-cert",
    "--backend-directory",
    "--repoagent-directory",
    "--cache-directory",
    "--log-file",
)
#: The default address to listen on: only this machine can reach it.
LOOPBACK = "127.0.0.1"
HTTP_RESTRICTION, GRPC_RESTRICTION = "--http-restricted-api", "--grpc-restricted-protocol"
ADMINISTRATION_HEADER = "lanner-administration"
#: Protocols that callers of a model never need.
_ADMINISTRATION = ("shared-memory", "trace", "logging")
#: The host names that are shown for addresses.
_SHOWN = {LOOPBACK: "localhost", "0.0.0.0": "localhost", "::": "localhost"}  # noqa: S104


class ServerOptions:
    """Options of tritonserver, as on its command line.

    Args:
        given: The options, ``--name=value`` or ``--name`` and ``value``; paths in them may be
            relative to the working directory.
        address: The address to listen on, unless the options set it.

    Raises:
        UsageError: An option has an argument of `lanner.triton.server.server.TritonServer` instead.
    """

    def __init__(self, given: Sequence[str], address: str = LOOPBACK) -> None:
        self.given = _with_absolute_paths(given)
        self._address = address
        for name in _OWN:
            if self.value(name) is not None:
                remedy = "put it before the --" if name.endswith("-port") else "Lanner needs it on"
                msg = f"{name} is not allowed among the options after --: {remedy}"
                raise UsageError(msg)

    def values(self, name: str) -> list[str]:
        """Return all values of an option."""
        found = []
        for i, option in enumerate(self.given):
            if option == name:
                found.append("".join(self.given[i + 1 : i + 2]))
            elif option.startswith(f"{name}="):
                found.append(option.partition("=")[2])
        return found

    def value(self, name: str) -> str | None:
        """Return the last value of an option, or None."""
        return next(reversed(self.values(name)), None)

    def address(self, name: str) -> str:
        """Return the address that ``"http"``, ``"grpc"`` or ``"metrics"`` listens on."""
        # Triton's own rule: metrics default to the address of HTTP.
        fallback = self.value("--http-address") if name == "metrics" else None
        return self.value(f"--{name}-address") or fallback or self._address

    def host(self, name: str) -> str:
        """Return the host for URLs on this machine."""
        address = self.address(name)
        return _SHOWN.get(address, f"[{address}]" if ":" in address else address)

    @property
    def is_public(self) -> bool:
        """True if other machines may reach the server."""
        addresses = {self.address(name) for name in ("http", "grpc", "metrics")}
        return not all(one in ("localhost", "::1") or one.startswith("127.") for one in addresses)

    @property
    def is_grpc_encrypted(self) -> bool:
        """True if gRPC is served over TLS; HTTP never is."""
        return self._is_on("--grpc-use-ssl") or self.wants_client_certificate

    @property
    def wants_client_certificate(self) -> bool:
        """True if gRPC clients must have a certificate."""
        return self._is_on("--grpc-use-ssl-mutual")

    @property
    def http_headers(self) -> dict[str, str]:
        """Return the headers that Lanner's own HTTP requests need to be admitted."""
        # <api>,<api>:<header>=<value>
        restricted = [one.partition(":")[2] for one in self.values(HTTP_RESTRICTION)]
        pairs = [one.partition("=") for one in restricted]
        return {name: value for name, equals, value in pairs if name and equals}

    def require_certificates(self) -> None:
        """Check the certificates of gRPC.

        With a bad certificate tritonserver would report that its port is taken.

        Raises:
            UsageError: A certificate is missing.
            InputError: See `lanner.triton.client.certificates.tls_context`.
        """
        if not self.is_grpc_encrypted:
            return
        names = ["--grpc-server-cert", "--grpc-server-key"]
        names += ["--grpc-root-cert"] if self.wants_client_certificate else []
        files = {name: self.value(name) for name in names}
        for name, file in files.items():
            if not file:
                msg = f"gRPC over TLS needs {', '.join(names)}: add {name}=FILE after --"
                raise UsageError(msg)
        paths = {name: Path(file) for name, file in files.items() if file}
        require_key_pair(paths["--grpc-server-cert"], paths["--grpc-server-key"])
        if "--grpc-root-cert" in paths:
            require_certificate(paths["--grpc-root-cert"])

    def restrictions(self, secret: str) -> list[str]:
        """Return the options that restrict administration to callers with a secret, unless given.

        Loading models stays open if the options ask for it (``--model-control-mode=explicit``).
        """
        loads = self.value("--model-control-mode") == "explicit"
        apis = ",".join(_ADMINISTRATION if loads else ("model-repository", *_ADMINISTRATION))
        return [
            f"{name}={apis}:{ADMINISTRATION_HEADER}={secret}"
            for name in (HTTP_RESTRICTION, GRPC_RESTRICTION)
            if self.value(name) is None
        ]

    def _is_on(self, name: str) -> bool:
        return (self.value(name) or "").lower() in _TRUE


def _with_absolute_paths(given: Sequence[str]) -> list[str]:
    made = list(given)
    for i, option in enumerate(made):
        name, equals, value = option.partition("=")
        if name in _PATHS and value:
            made[i] = f"{name}{equals}{Path(value).absolute()}"
        elif option in _PATHS and i + 1 < len(made):
            made[i + 1] = str(Path(made[i + 1]).absolute())
    return made
