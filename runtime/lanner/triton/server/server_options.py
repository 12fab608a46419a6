"""Options of tritonserver that a user gives: what Lanner must know of them."""

from collections.abc import Sequence
from pathlib import Path

from lanner.errors import UsageError
from lanner.triton.client.certificates import require_certificate, require_key_pair

#: Options that Lanner must know the values of, because it asks the server by them.
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
#: Where a server listens that was told nothing: for this machine alone.
LOOPBACK = "127.0.0.1"
HTTP_RESTRICTION, GRPC_RESTRICTION = "--http-restricted-api", "--grpc-restricted-protocol"
ADMINISTRATION_HEADER = "lanner-administration"
#: What no caller of a model needs.
_ADMINISTRATION = ("shared-memory", "trace", "logging")
#: What is shown for addresses that are not names.
_SHOWN = {LOOPBACK: "localhost", "0.0.0.0": "localhost", "::": "localhost"}  # noqa: S104


class ServerOptions:
    """Options of tritonserver, as a command line has them.

    Args:
        given: The options, ``--name=value`` or ``--name`` and ``value``; paths in them may be
            relative to the working directory.
        address: Where is listened, unless the options say.

    Raises:
        UsageError: One of them says what arguments of `lanner.triton.server.server.TritonServer`
        must.
    """

    def __init__(self, given: Sequence[str], address: str = LOOPBACK) -> None:
        self.given = _with_absolute_paths(given)
        self._address = address
        for name in _OWN:
            if self.value(name) is not None:
                remedy = "give it before the --" if name.endswith("-port") else "Lanner needs it on"
                msg = f"{name} cannot be one of the options after --: {remedy}"
                raise UsageError(msg)

    def values(self, name: str) -> list[str]:
        """The values of an option, as often as it was given."""
        found = []
        for i, option in enumerate(self.given):
            if option == name:
                found.append("".join(self.given[i + 1 : i + 2]))
            elif option.startswith(f"{name}="):
                found.append(option.partition("=")[2])
        return found

    def value(self, name: str) -> str | None:
        """The value of an option, the last one if it was given more often."""
        return next(reversed(self.values(name)), None)

    def address(self, name: str) -> str:
        """Where ``"http"``, ``"grpc"`` or ``"metrics"`` listens."""
        # Triton's own rule: metrics are where HTTP is.
        fallback = self.value("--http-address") if name == "metrics" else None
        return self.value(f"--{name}-address") or fallback or self._address

    def host(self, name: str) -> str:
        """The same in a URL of this machine."""
        address = self.address(name)
        return _SHOWN.get(address, f"[{address}]" if ":" in address else address)

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it."""
        addresses = {self.address(name) for name in ("http", "grpc", "metrics")}
        return not all(one in ("localhost", "::1") or one.startswith("127.") for one in addresses)

    @property
    def is_grpc_encrypted(self) -> bool:
        """Whether gRPC is served over TLS; HTTP never is."""
        return self._is_on("--grpc-use-ssl") or self.wants_client_certificate

    @property
    def wants_client_certificate(self) -> bool:
        """Whether a client of gRPC must have a certificate."""
        return self._is_on("--grpc-use-ssl-mutual")

    @property
    def http_headers(self) -> dict[str, str]:
        """The headers without which HTTP is refused, for what Lanner asks the server itself."""
        # <api>,<api>:<header>=<value>
        restricted = [one.partition(":")[2] for one in self.values(HTTP_RESTRICTION)]
        pairs = [one.partition("=") for one in restricted]
        return {name: value for name, equals, value in pairs if name and equals}

    def require_certificates(self) -> None:
        """Refuses certificates that gRPC cannot serve with.

        tritonserver would say that its port is taken.

        Raises:
            UsageError: One is not given.
            InputError: See `lanner.triton.client.certificates.tls_context`.
        """
        if not self.is_grpc_encrypted:
            return
        names = ["--grpc-server-cert", "--grpc-server-key"]
        names += ["--grpc-root-cert"] if self.wants_client_certificate else []
        files = {name: self.value(name) for name in names}
        for name, file in files.items():
            if not file:
                msg = f"gRPC over TLS needs {', '.join(names)}: give {name}=FILE after --, too"
                raise UsageError(msg)
        paths = {name: Path(file) for name, file in files.items() if file}
        require_key_pair(paths["--grpc-server-cert"], paths["--grpc-server-key"])
        if "--grpc-root-cert" in paths:
            require_certificate(paths["--grpc-root-cert"])

    def restrictions(self, secret: str) -> list[str]:
        """The options that keep administration for whoever knows a secret, unless they are given.

        Loading models stays open where the options ask for it (``--model-control-mode=explicit``).
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
