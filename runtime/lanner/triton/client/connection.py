"""From a Triton server to a model that answers, with the methods of `lanner.load`."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest
from lanner.errors import ServerError
from lanner.loading.asynchronous import AsyncModel
from lanner.loading.load import open_tokenizer, require_counts
from lanner.models.base import Model
from lanner.models.heads import model_class
from lanner.models.tagging import TaggingModel
from lanner.running.runner import MAX_WAITING, Runner, feed
from lanner.triton.client.engine import TritonEngine
from lanner.triton.client.text_requests import (
    ServerTaggingModel,
    ServerTokenizer,
    TextEngine,
    feed_texts,
)
from lanner.triton.client.transport import Address, Transport
from lanner.triton.contract.served_model import ServedModel
from lanner.vectors.ranges import EmbeddingRanges

if TYPE_CHECKING:
    from lanner.triton.client.grpc_transport import GrpcTransport
    from lanner.triton.client.http_transport import HttpTransport

#: Requests of one model that are on their way at once; callers beyond them share the next ones. Of
#: 1, 2 and 4, on a machine of two cores 16 callers got 1,560, 1,410 and 1,260 texts a second, two
#: callers 680, 800 and 700, and one call of 10,000 texts 2,060, 2,150 and 2,050. One would leave a
#: server that is further away idle while a request is on its way.
REQUESTS_AT_ONCE = 2
#: The most padded tokens of one request: four of the batches that an engine in process gets, so
#: that what a request takes beside its tokens is a small part of it.
REQUEST_TOKENS = 2_048
#: Classes of models whose server tokenises, where they differ from those with a tokenizer here.
_TEXT_CLASSES: dict[type[Model], type[Model]] = {TaggingModel: ServerTaggingModel}


def connect(
    url: str,
    name: str,
    *,
    version: str = "",
    artifact: str | Path | None = None,
    headers: Mapping[str, str] | None = None,
    root_certificates: str | Path | None = None,
    private_key: str | Path | None = None,
    certificate_chain: str | Path | None = None,
    retries: int = 3,
    priority: int = 0,
    requests_at_once: int = REQUESTS_AT_ONCE,
    request_tokens: int = REQUEST_TOKENS,
    max_waiting: int = MAX_WAITING,
) -> Any:  # one of four classes: which one, the server's manifest says
    """A model on a Triton server, with the methods that `lanner.load` gives one in process.

    Texts are tokenised here, with the tokenizer that the server's model carries; of ``<name>_text``
    they are sent as they are. When the server goes over to a new version of the model, calls go
    with it: every call is answered by one version, from the beginning if need be.

    Args:
        url: ``"grpc://localhost:8001"`` or ``"http://localhost:8000"``; ``grpcs`` and ``https``
            over TLS.
        name: The model's.
        version: The version to stay with; empty for the newest, always.
        artifact: The artifact that the model was made of, where it was not made by ``lanner
            repository``; it needs the tensors that this writes.
        headers: Sent with every request, for example an authorisation.
        root_certificates: A PEM file of who is trusted; None for who the system trusts.
        private_key: A PEM file of the client's key, where it is not in that of its certificate.
        certificate_chain: A PEM file of the client's certificate, where the server asks for one.
        retries: How often a request is sent again where the server or the model is away, after
            0.1 s, 0.2 s and so on.
        priority: From 1, served first; 0 for the model's default.
        requests_at_once: How many requests are on their way at once.
        request_tokens: The most padded tokens of one request.
        max_waiting: The most calls that wait here; more are refused with
            `lanner.errors.Overloaded`.

    Returns:
        By the head of the model an `EmbeddingModel`, a `ScoringModel`, a `ClassificationModel` or a
        `TaggingModel`.

    Raises:
        UsageError: The URL is none, or a certificate is given and it is without TLS.
        InputError: A number is less than 1, a header cannot be sent, or a certificate not be used.
        ServerUnavailableError: No server answers there.
        ModelUnavailableError: It has no such model, or the model is not ready.
        ServerError: The model carries no tokenizer, and no artifact is given; the server refuses
            the headers or the certificates, or its own certificate is not to be trusted.
        MissingExtraError: tritonclient is not installed.
    """
    require_counts(
        requests_at_once=requests_at_once, request_tokens=request_tokens, max_waiting=max_waiting
    )
    address = Address.parse(
        url,
        headers=headers,
        root_certificates=root_certificates,
        private_key=private_key,
        certificate_chain=certificate_chain,
    )
    engine_options = {"version": version, "retries": retries, "priority": priority}
    make_runner = partial(
        Runner, workers=requests_at_once, token_budget=request_tokens, max_waiting=max_waiting
    )
    transport = _transport_kind(address.protocol)(address)
    try:
        return _Connection(transport, name, version, artifact, engine_options).model(make_runner)
    except BaseException:
        transport.close()  # a channel goes on trying
        raise


async def connect_async(url: str, name: str, **options: Any) -> AsyncModel:
    """`connect` for asyncio: the same arguments and errors, and methods that are awaited."""
    return AsyncModel(await asyncio.to_thread(connect, url, name, **options))


class _Connection:
    """A model of one server: asked for what it is now, and again when it changed."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        version: str,
        given: str | Path | None,
        engine_options: Mapping[str, Any],
    ) -> None:
        self._transport, self._name, self._version = transport, name, version
        self._given = None if given is None else Artifact.open(given)
        self._engine_options = engine_options
        self._lock = threading.Lock()

    def model(self, runner: Callable[..., Runner]) -> Model:
        """The model as it is now; it renews itself.

        Args:
            runner: Makes one of an engine and of what feeds it.
        """
        served = self._served()
        with self._artifact(served) as artifact:
            manifest = artifact.manifest
            kind = model_class(manifest)
            if served.takes_texts:
                kind = _TEXT_CLASSES.get(kind, kind)
            own: dict[str, Any] = {}
            ranges = manifest.embedding_ranges
            if ranges is not None:
                own["ranges"] = EmbeddingRanges.read(artifact.file(ranges.file), manifest.dimension)
            model = kind(
                manifest=manifest,
                variant=served.variant(manifest),
                tokenizer=_tokenizer(served, artifact),
                runner=self._runner(runner, served, manifest),
                **own,
            )
        model.renew = partial(self._renew, make_runner=runner)
        return model

    def _renew(self, model: Model, make_runner: Callable[..., Runner]) -> None:
        with self._lock:
            before: TritonEngine = model.runner.engine  # type: ignore[assignment]
            served = self._served()
            if served.version == before.served.version:
                return  # another thread was here first
            with self._artifact(served) as artifact:
                manifest = artifact.manifest
                _require_alike(model.manifest, manifest, self._name)
                tokenizer = _tokenizer(served, artifact)
            model.manifest, model.variant = manifest, served.variant(manifest)
            model.tokenizer = tokenizer
            # The last: see `Model.of_one_version`.
            model.runner = self._runner(make_runner, served, manifest)

    def _runner(
        self, make: Callable[..., Runner], served: ServedModel, manifest: Manifest
    ) -> Runner:
        make = partial(make, width=manifest.dimension, by_token=manifest.head == "tag")
        kind = TextEngine if served.takes_texts else TritonEngine
        engine = kind(
            self._transport,
            served,
            output=manifest.outputs[0],
            **self._engine_options,
        )
        if served.takes_texts:
            return make(engine, feed=feed_texts)
        return make(engine, feed=partial(feed, pad_token_id=manifest.tokenizer.pad_token_id))

    def _served(self) -> ServedModel:
        """Return the server's description of the version that it serves now."""
        version = self._version or self._transport.versions(self._name)[-1]
        return ServedModel.of(self._name, version, self._transport.config(self._name, version))

    @contextmanager
    def _artifact(self, served: ServedModel) -> Iterator[Artifact]:
        if self._given is not None:
            yield self._given
            return
        with served.artifact() as artifact:
            yield artifact


def _transport_kind(protocol: str) -> "type[GrpcTransport | HttpTransport]":
    if protocol == "grpc":
        from lanner.triton.client.grpc_transport import GrpcTransport  # noqa: PLC0415 (an extra)

        return GrpcTransport
    from lanner.triton.client.http_transport import HttpTransport  # noqa: PLC0415 (an extra)

    return HttpTransport


def _tokenizer(served: ServedModel, artifact: Artifact) -> Any:
    manifest = artifact.manifest
    if served.takes_texts:
        return ServerTokenizer(manifest)
    return open_tokenizer(artifact.file(manifest.tokenizer.file), manifest)


def _require_alike(before: Manifest, after: Manifest, name: str) -> None:
    """Refuse a version whose answers mean something else than those before it."""
    for what in ("head", "dimension", "similarity", "labels", "activation"):
        old, new = getattr(before, what), getattr(after, what)
        if old != new:
            msg = (
                f"the server goes over to a version of {name} with another {what} ({new}, before "
                f"{old}), whose answers cannot stand beside the earlier ones: connect again"
            )
            raise ServerError(msg)
