"""The models of a server, as Lanner's own client finds them."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import lanner
from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest
from lanner.errors import BenchmarkError, ServerError, ServerUnavailableError
from lanner.triton.client.transport import Address, Monitor
from lanner.triton.contract.served_model import ServedModel
from lanner.triton.contract.tensors import TEXT_SUFFIX
from lanner_perf.kinds.heads import first_input
from lanner_perf.record.schema import LeftOut, ModelOnServer
from lanner_perf.subjects.totals import cache_lookups

_PROTOCOLS = {"grpc": "gRPC", "http": "HTTP"}
#: The backend whose repositories contain a graph that ONNX Runtime has optimized, instead of the
#: artifact's own file.
_BAKING = "onnxruntime"
#: The server counts a lookup a moment after the answer.
_PATIENCE_S, _POLL_S = 1.0, 0.01


class Found(NamedTuple):
    """The models behind one URL.

    Attributes:
        models: The token model, the text model, or both.
        left_out: The one of them that the server lacks.
    """

    models: list["ServerModel"]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class ServerModel:
    """A model of a server, as one protocol reaches it.

    Attributes:
        url: The URL of the server.
        triton: The version of the server.
        served: The server's description of the model.
        manifest: The manifest of the model's artifact.
        config: The model's configuration in Triton's JSON form.
        asks_for_cache: True if its configuration turns the response cache on.
        has_cache: True if, in addition, the server has a response cache.
    """

    url: str
    triton: str
    served: ServedModel
    manifest: Manifest
    config: Mapping[str, Any]
    asks_for_cache: bool
    has_cache: bool

    @property
    def takes(self) -> str:
        """Return the kind of input."""
        return "texts" if self.served.takes_texts else "tokens"

    @property
    def way(self) -> str:
        """Return the name in a report, for example ``"tokens, gRPC"``."""
        return _way(self.takes, self.url)

    @property
    def tokenizer_sha256(self) -> str:
        """Return the SHA-256 of its artifact's tokenizer, which the client or the server uses."""
        return self.manifest.files[self.manifest.tokenizer.file].sha256

    def to_json(self) -> ModelOnServer:
        """Return the entry of a report."""
        groups = self.config.get("instance_group", [])
        return {
            "name": self.served.name,
            "version": self.served.version,
            "variant": self.served.variant(self.manifest).name,
            "takes": self.takes,
            "backend": str(self.config.get("backend", "")),
            "instances": sum(int(group.get("count", 1)) for group in groups) or 1,
            "max_batch_size": self.served.max_batch_size,
            "has_cache": self.has_cache,
        }


def find_models(url: str, name: str, access: Mapping[str, Any]) -> Found:
    """Return the model of that name, and its counterpart that takes texts or tokens.

    Args:
        url: The URL of the server.
        name: The name of the model.
        access: Headers and certificates, as `lanner.connect` takes them.

    Raises:
        UsageError: The URL is not one of a server.
        ServerUnavailableError: No server answers there.
        ModelUnavailableError: The server has no such model, or the model is not ready.
        ServerError: The model carries nothing of an artifact.
    """
    tokens = name.removesuffix(TEXT_SUFFIX)
    found = Found([], [])
    for one in (tokens, tokens + TEXT_SUFFIX):
        try:
            found.models.append(_find(url, one, access))
        except ServerUnavailableError:
            raise
        except ServerError as error:
            if one == name:
                raise
            takes = "texts" if one.endswith(TEXT_SUFFIX) else "tokens"
            found.left_out.append({"name": _way(takes, url), "reason": str(error)})
    return found


def _find(url: str, name: str, access: Mapping[str, Any]) -> ServerModel:
    model = lanner.connect(url, name, **access)
    engine = model.runner.engine
    transport, served = engine.transport, engine.served
    try:
        config = transport.config(name, served.version)
        asks_for_cache = bool(config.get("response_cache", {}).get("enable"))
        return ServerModel(
            url,
            str(transport.server()["version"]),
            served,
            model.manifest,
            config,
            asks_for_cache,
            has_cache=asks_for_cache and _is_remembered(model, transport, name),
        )
    finally:
        transport.close()


def _is_remembered(model: Any, transport: Monitor, name: str) -> bool:
    """Return True if the server looks an answer up in a cache."""
    head = model.manifest.head_record
    getattr(model, head.methods[0])(first_input(head.inputs.value))
    end = time.monotonic() + _PATIENCE_S
    while not (lookups := cache_lookups(transport, name)) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return lookups > 0


def artifact_of(
    models: Sequence[ServerModel], given: Artifact | None
) -> AbstractContextManager[Artifact]:
    """Return an artifact with the tokenizer of the models: the given one, or the server's.

    Raises:
        BenchmarkError: No artifact is given, and the server has only text models.
    """
    if given is not None:
        return nullcontext(given)
    for model in models:
        if not model.served.takes_texts:
            return model.served.artifact()
    msg = (
        f"{models[0].url} has only {models[0].served.name}, which carries no tokenizer to count "
        "tokens with: give its artifact with --against DIR"
    )
    raise BenchmarkError(msg)


def require_same(artifact: Artifact, model: ServerModel) -> None:
    """Refuse an artifact that is not the artifact of a server's model.

    Raises:
        BenchmarkError: The head, dimension, tokenizer or weights of the variant differ.
    """
    mine, theirs = artifact.manifest, model.manifest
    variant = model.served.variant(theirs)
    files = [mine.tokenizer.file]
    if model.config.get("backend") != _BAKING:
        files += variant.files
    differing = [
        what for what in ("head", "dimension") if getattr(mine, what) != getattr(theirs, what)
    ]
    if mine.variant(variant.name) is None:
        differing.append(f"variant {variant.name}")
    known = [name for name in files if name in theirs.files]
    differing += [name for name in known if mine.files.get(name) != theirs.files[name]]
    if differing:
        msg = (
            f"{artifact.directory} is not the artifact of {model.served.name} on {model.url} "
            f"({', '.join(differing)} differ): give the artifact that its repository was made "
            "from, or leave --against out"
        )
        raise BenchmarkError(msg)


def _way(takes: str, url: str) -> str:
    return f"{takes}, {_PROTOCOLS[Address.parse(url).protocol]}"
