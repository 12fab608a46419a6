"""The settings of the service: the same names as flags, environment variables and TOML keys."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, get_args, get_origin, get_type_hints

from lanner.errors import UsageError
from lanner.service.access.cors import parse_origins
from lanner.service.access.log import SHAPES
from lanner.service.access.personal_data import KINDS
from lanner.service.access.phones import DEFAULT_REGIONS
from lanner.service.access.rates import MOST_WORKERS

#: The prefix of the environment variables: ``LANNER_SERVE_PORT`` is ``--port``.
PREFIX = "LANNER_SERVE_"
#: The variable that names the file of settings.
FILE_VARIABLE = "LANNER_SERVE_CONFIG"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_URLS = ("grpc://", "grpcs://", "http://", "https://")


def _setting(default: Any, help_text: str, metavar: str = "") -> Any:
    """Return a field of `Settings` with its help text for the command line."""
    return field(default=default, metadata={"help": help_text, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a service. The names are those of the flags, with underscores.

    Attributes:
        models: The targets (directories or URLs) by the names that clients use.
    """

    models: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    host: str = _setting("127.0.0.1", "the address to listen on", "ADDRESS")
    port: int = _setting(8080, "the port of the service; 0 takes a free one", "N")
    admin_port: int | None = _setting(
        None, "another port for /metrics, /docs and /openapi.json", "N"
    )
    workers: int = _setting(1, "processes that serve, each with its own models", "N")
    engine: str = _setting("auto", "the engine of artifacts", "NAME")
    variant: str = _setting("auto", "the variant of artifacts", "NAME")
    device: str = _setting("auto", "cpu or cuda", "NAME")
    threads: int | None = _setting(None, "cores for the models (default: all)", "N")
    truncate: bool = _setting(True, "cut texts beyond the model's limit unless a request says not")
    openai_vocabulary: str | None = _setting(
        None,
        "the vocabulary for decoding token ids at /v1/embeddings: a name of tiktoken, such as "
        "cl100k_base, or a file of ranks (default: ids are refused)",
        "NAME|FILE",
    )
    request_timeout_s: float = _setting(60.0, "seconds that an answer may take", "S")
    head_timeout_s: float = _setting(10.0, "seconds for the head of a request to arrive", "S")
    body_timeout_s: float = _setting(30.0, "seconds for the body of a request to arrive", "S")
    idle_timeout_s: float = _setting(75.0, "seconds that an idle connection is kept", "S")
    send_timeout_s: float = _setting(60.0, "seconds for a client to read an answer", "S")
    drain_s: float = _setting(30.0, "seconds for running requests at the stop", "S")
    max_body_bytes: int = _setting(32 * 2**20, "the largest body of a request", "N")
    max_header_bytes: int = _setting(32 * 2**10, "the largest head of a request", "N")
    max_texts: int = _setting(4_096, "the most texts of a request", "N")
    max_text_characters: int = _setting(1_000_000, "the most characters of a text", "N")
    max_tokens: int = _setting(2_097_152, "the most tokens of a request", "N")
    max_bytes_in_flight: int = _setting(
        256 * 2**20, "the most bytes of bodies that are read or answered; more get a 429", "N"
    )
    max_queue_tokens: int = _setting(200_000, "the most tokens that wait; more get a 429", "N")
    max_connections: int = _setting(1_024, "the most connections", "N")
    reload_s: float = _setting(
        2.0, "seconds between looks at artifacts, keys and certificates for new versions", "S"
    )
    tls_certificate: str | None = _setting(None, "a PEM file of the certificate", "FILE")
    tls_key: str | None = _setting(None, "a PEM file of its key", "FILE")
    tls_client_ca: str | None = _setting(
        None, "a PEM file of the authorities for client certificates, then required", "FILE"
    )
    root_certificates: str | None = _setting(
        None, "a PEM file of the authorities for Triton's certificate (default: system)", "FILE"
    )
    certificate_chain: str | None = _setting(
        None, "a PEM file of the service's certificate, if Triton asks for one", "FILE"
    )
    private_key: str | None = _setting(None, "a PEM file of the key of this certificate", "FILE")
    cors_origins: tuple[str, ...] = _setting(
        (), "origins whose pages may call the service, or *", "ORIGINS"
    )
    keys: str | None = _setting(
        None, "the file of API keys that 'lanner keys' makes; without it no key is needed", "FILE"
    )
    mask: tuple[str, ...] = _setting(
        (), f"personal data that is masked before a model reads it: {', '.join(KINDS)}", "KINDS"
    )
    mask_patterns: str | None = _setting(None, "a TOML file of your own patterns to mask", "FILE")
    mask_with: str | None = _setting(
        None, "an artifact of the head tag, whose entities are masked", "DIR"
    )
    mask_regions: tuple[str, ...] = _setting(
        DEFAULT_REGIONS, "countries whose local telephone numbers are masked", "CODES"
    )
    canary: str | None = _setting(
        None, "the file of --write-canary, whose answers the models must keep", "FILE"
    )
    probe_s: float = _setting(
        15.0, "seconds between two probes of each model, for its readiness and the canary", "S"
    )
    metrics_compat: str | None = _setting(
        None, "tei: /metrics has the names of Text Embeddings Inference, too", "NAME"
    )
    triton_metrics: str | None = _setting(
        None,
        "the address of a Triton server's metrics, which /metrics passes on (a repository's server "
        "needs none)",
        "URL",
    )
    traces: str | None = _setting(
        None,
        "the address of an OpenTelemetry collector (OTLP over HTTP) that gets traces, such as "
        "http://localhost:4318 (default: that of OTEL_EXPORTER_OTLP_ENDPOINT; without one none)",
        "URL",
    )
    trace_ratio: float | None = _setting(
        None,
        "the share of requests that are traced, unless their callers decide it (default: as "
        "OTEL_TRACES_SAMPLER says, or ten requests a second)",
        "SHARE",
    )
    log: str = _setting("text", "the form of the log on stderr: text or json", "FORM")
    access_log: bool = _setting(True, "write a line for each request")

    @classmethod
    def read(
        cls,
        *,
        file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
        targets: Sequence[str] = (),
    ) -> Self:
        """Return the settings: flags win, then the environment, then the file.

        Args:
            file: A TOML file with the names of the attributes, and the tables ``models`` and
                ``aliases``; None takes the file that the environment names, if any.
            environment: The environment; None for that of the process.
            flags: The given flags, by the names of the attributes.
            targets: Directories or URLs, or ``NAME=TARGET``; they replace those of the file.

        Raises:
            UsageError: A setting is unknown, or its value has the wrong type or is out of range.
        """
        found: dict[str, Any] = {}
        environment = dict(os.environ) if environment is None else environment
        if file is None and FILE_VARIABLE in environment:
            file = Path(environment[FILE_VARIABLE])
        if file is not None:
            found |= _of_file(file)
        for name, text in environment.items():
            if name.startswith(PREFIX) and name != FILE_VARIABLE:
                found[name.removeprefix(PREFIX).lower()] = text
        found |= {name: value for name, value in (flags or {}).items() if value is not None}
        if targets:
            found["models"] = named(targets)
        known = {one.name: one for one in fields(cls)}
        hints = get_type_hints(cls)
        values = {}
        for name, value in found.items():
            if name not in known:
                msg = f"there is no setting {name!r}: see lanner serve --help"
                raise UsageError(msg)
            values[name] = _typed(name, value, hints[name])
        return replace(cls(), **values).checked()

    def with_aliases(self, pairs: Sequence[str]) -> Self:
        """Return the settings with more aliases, each as ``ALIAS=MODEL``.

        Raises:
            UsageError: An alias names no model.
        """
        return replace(self, aliases={**self.aliases, **dict(map(_pair, pairs))}).checked()

    def checked(self) -> Self:
        """Check that all values are in range, and return the settings.

        Raises:
            UsageError: A value is out of range.
        """
        self._require_numbers()
        if self.log not in SHAPES:
            msg = f"log must be {' or '.join(SHAPES)}, not {self.log!r}"
            raise UsageError(msg)
        if self.metrics_compat not in (None, "tei"):
            msg = f"metrics_compat must be tei, not {self.metrics_compat!r}"
            raise UsageError(msg)
        if not (self.triton_metrics or "http://").startswith(("http://", "https://")):
            msg = f"triton_metrics must begin with http:// or https://, not {self.triton_metrics!r}"
            raise UsageError(msg)
        if not (self.traces or "http://").startswith(("http://", "https://")):
            msg = f"traces must begin with http:// or https://, not {self.traces!r}"
            raise UsageError(msg)
        if unknown := set(self.mask) - set(KINDS):
            msg = f"{min(unknown)!r} is nothing that can be masked: use {', '.join(KINDS)}"
            raise UsageError(msg)
        parse_origins(self.cors_origins)
        if (self.tls_certificate is None) != (self.tls_key is None):
            msg = "tls_certificate and tls_key belong together: give both"
            raise UsageError(msg)
        if self.tls_client_ca is not None and self.tls_certificate is None:
            msg = "tls_client_ca needs tls_certificate and tls_key"
            raise UsageError(msg)
        for alias, name in self.aliases.items():
            if name.partition(":")[0] not in self.models and self.models:
                msg = f"the alias {alias!r} is of {name!r}, which is not one of the models"
                raise UsageError(msg)
        return self

    def _require_numbers(self) -> None:
        if not 0 <= (self.trace_ratio or 0) <= 1:
            msg = f"trace_ratio must be a share from 0 to 1, not {self.trace_ratio}"
            raise UsageError(msg)
        for one in fields(self):
            value = getattr(self, one.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            least = 0 if one.name.endswith(("port", "_ratio")) else 1
            if is_number and one.name.endswith("_s"):
                least = 0
                if not 0 < value < float("inf"):
                    msg = f"{one.name} must be a number of seconds above 0, not {value}"
                    raise UsageError(msg)
            if is_number and value < least:
                msg = f"{one.name} must be at least {least}, not {value}"
                raise UsageError(msg)
            if one.name.endswith("port") and is_number and value >= 2**16:
                msg = f"{one.name} must be a port, 0 to 65535, not {value}"
                raise UsageError(msg)
        if self.port and self.admin_port == self.port:
            msg = f"admin_port must be another port than {self.port}, that of the service"
            raise UsageError(msg)
        if self.workers > MOST_WORKERS:
            msg = f"workers must be at most {MOST_WORKERS}, not {self.workers}"
            raise UsageError(msg)

    @property
    def triton_certificates(self) -> dict[str, str]:
        """The TLS files for a Triton server, by the arguments of `lanner.connect`."""
        names = ("root_certificates", "certificate_chain", "private_key")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def is_public(self) -> bool:
        """True if other machines may reach the service."""
        return self.host not in ("127.0.0.1", "localhost", "::1")


def named(targets: Sequence[str]) -> dict[str, str]:
    """Return targets by name, from ``NAME=TARGET`` or from the name of the directory.

    Raises:
        UsageError: Two targets have the same name, or a name cannot be used by clients.
    """
    found: dict[str, str] = {}
    for target in targets:
        name, equals, path = target.partition("=")
        if not equals or target.startswith(_URLS):
            name, path = "", target
        if not name:
            is_url = path.startswith(_URLS)
            # A link keeps its own name: it may be moved to another version.
            name = path.rpartition("/")[2] if is_url else Path(os.path.abspath(path)).name  # noqa: PTH100
            name = name.removesuffix(".lanner")
        if not _NAME.fullmatch(name):
            msg = f"{target!r} gives no name for clients: write NAME={path}, of letters and digits"
            raise UsageError(msg)
        if name in found:
            msg = f"two targets are called {name!r}: write NAME=TARGET for one"
            raise UsageError(msg)
        found[name] = path
    return found


def _of_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read as a configuration: {error}"
        raise UsageError(msg) from None
    return {name.replace("-", "_"): value for name, value in content.items()}


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Convert a value to the type of its attribute; values from the environment are text.

    Raises:
        UsageError: The value does not fit the type.
    """
    kinds = get_args(hint) or (hint,)
    wanted = next((kind for kind in (bool, int, float, str) if kind in kinds), None)
    read: Callable[[Any], object] | None = {"models": _models, "aliases": _aliases}.get(name)
    if read is None and get_origin(hint) is tuple:
        read = _listed
    try:
        return read(value) if read is not None else _READ[wanted or str](value)
    except (KeyError, TypeError, ValueError, OverflowError):
        msg = f"the setting {name} cannot be {value!r}: see lanner serve --help"
        raise UsageError(msg) from None


def _bool(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return value if isinstance(value, bool) else words[value.lower()]


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _int(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or (isinstance(value, float) and value != number):
        raise TypeError
    return number


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_READ: dict[type, Callable[[Any], object]] = {bool: _bool, int: _int, float: _float, str: _str}


def _listed(value: Any) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else value
    return tuple(
        part.strip() for listed in parts for part in _str(listed).split(",") if part.strip()
    )


def _models(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        value = [f"{name}={_str(target)}" for name, target in value.items()]
    return named(_listed(value))


def _aliases(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {name: _str(target) for name, target in value.items()}
    return dict(map(_pair, _listed(value)))


def _pair(text: str) -> tuple[str, str]:
    name, equals, target = text.partition("=")
    if not (name and equals and target):
        msg = f"{text!r} is no alias: write ALIAS=MODEL"
        raise UsageError(msg)
    return name, target
