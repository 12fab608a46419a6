"""Connecting to a model on a Triton server, with the methods of `lanner.load`."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload
from weakref import finalize

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import TASKS, Manifest
from lanner.errors import ModelUnavailableError, ServerError
from lanner.loading.asynchronous import AsyncModel
from lanner.loading.load import feed_of, open_tokenizer, require_counts
from lanner.models.base import Model
from lanner.models.embedding import EmbeddingModel
from lanner.models.heads import AnyModel, ModelT, model_class, require_class
from lanner.models.inputs import require_count, require_path, require_str
from lanner.models.sparse import SparseModel
from lanner.models.tagging import TaggingModel
from lanner.models.tokens import TokensModel
from lanner.running.defaults import MAX_WAITING
from lanner.running.runner import Runner
from lanner.text.tokenization import TextTokenizer
from lanner.triton.client.renewal import Renewal
from lanner.triton.client.text_requests import (
    ServerEmbeddingModel,
    ServerSparseModel,
    ServerTaggingModel,
    ServerTokenizer,
    ServerTokensModel,
    TextEngine,
    feed_texts,
)
from lanner.triton.client.transport import Address, Transport
from lanner.triton.client.triton_engine import TritonEngine
from lanner.triton.contract.served_model import ServedModel
from lanner.triton.contract.tensors import PROMPT_NAME, way_name
from lanner.vectors.ranges import EmbeddingRanges
from lanner.vectors.sparse import read_weights

if TYPE_CHECKING:
    from lanner.triton.client.grpc_transport import GrpcTransport
    from lanner.triton.client.http_transport import HttpTransport

#: Requests of one model in flight at once; further callers share the next ones. With 1, 2 and 4, on
#: a machine with two cores 16 callers got 1,560, 1,410 and 1,260 texts per second, two callers 680,
#: 800 and 700, and one call of 10,000 texts 2,060, 2,150 and 2,050. With one, a distant server
#: would be idle while a request travels.
REQUESTS_AT_ONCE = 2
#: Classes of models whose server tokenises, if they differ from those with a tokenizer here.
_TEXT_CLASSES: dict[type[Model], type[Model]] = {
    EmbeddingModel: ServerEmbeddingModel,
    SparseModel: ServerSparseModel,
    TokensModel: ServerTokensModel,
    TaggingModel: ServerTaggingModel,
}
#: The most padded tokens in one request: four batches of an engine in process, so that the fixed
#: cost of a request is a small part of it.
REQUEST_TOKENS = 2_048


class ConnectOptions(TypedDict, total=False):
    """The arguments of `connect` that do not change the type of the model."""

    version: str
    artifact: str | Path | None
    headers: Mapping[str, str] | None
    root_certificates: str | Path | None
    private_key: str | Path | None
    certificate_chain: str | Path | None
    retries: int
    priority: int
    requests_at_once: int
    request_tokens: int
    max_waiting: int


@overload
def connect(
    url: str, name: str, *, head: None = None, **options: Unpack[ConnectOptions]
) -> AnyModel: ...


@overload
def connect(
    url: str, name: str, *, head: type[ModelT], **options: Unpack[ConnectOptions]
) -> ModelT: ...


def connect(
    url: str,
    name: str,
    *,
    head: type[Model] | None = None,
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
) -> Model:
    """Connect to a model on a Triton server, with the methods of `lanner.load`.

    Texts are tokenised here, with the tokenizer that the server's model carries; for
    ``<name>_text`` the server tokenises them. When the server switches to a new version of the
    model, calls follow: one version answers each call, which is restarted if necessary.

    Args:
        url: ``"grpc://localhost:8001"`` or ``"http://localhost:8000"``; ``grpcs`` and ``https``
            over TLS.
        name: The name of the model.
        head: The class that the caller expects, for example `lanner.EmbeddingModel`; a model of
            another head is refused. None for any: type checkers then see the methods of all heads.
        version: The version to stay with; empty for the newest, always.
        artifact: The artifact that the model was made of, where it was not made by ``lanner
            repository``; it needs the tensors that this writes.
        headers: Sent with every request, for example an authorisation.
        root_certificates: A PEM file of trusted CA certificates; None for those of the system.
        private_key: A PEM file of the client's key; None if it is in that of its certificate.
        certificate_chain: A PEM file of the client's certificate, if the server asks for one.
        retries: The number of retries if the server or the model is unavailable, after 0.1 s,
            0.2 s and so on.
        priority: From 1, served first; 0 for the model's default.
        requests_at_once: The most requests in flight at once.
        request_tokens: The most padded tokens of one request.
        max_waiting: The most calls that wait here; more are refused with
            `lanner.errors.Overloaded`.

    Returns:
        An `EmbeddingModel`, a `ScoringModel`, a `ClassificationModel` or a `TaggingModel`, by the
        head of the model.

    Raises:
        HeadError: The model has another head than `head` says.
        UsageError: The URL is invalid, or has no TLS for the given certificates.
        InputError: A number is less than 1, a header cannot be sent, or a certificate not be used.
        ServerUnavailableError: No server answers at the URL.
        ModelUnavailableError: The server has no such model, or the model is not ready.
        ServerError: The model carries no tokenizer, and no artifact is given; the server refuses
            the headers or the certificates, or its own certificate is not trusted.
        MissingExtraError: tritonclient is not installed.
    """
    again = partial(
        connect,
        url,
        name,
        version=version,
        retries=retries,
        priority=priority,
        requests_at_once=requests_at_once,
        request_tokens=request_tokens,
        max_waiting=max_waiting,
    )
    require_str(url=url, name=name, version=version)
    files = {
        "artifact": artifact,
        "root_certificates": root_certificates,
        "private_key": private_key,
        "certificate_chain": certificate_chain,
    }
    given_files = {name: path for name, path in files.items() if path is not None}
    require_path(**given_files)
    require_count("retries", retries, least=0)
    require_count("priority", priority, least=0)
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
        given = None if artifact is None else Artifact.open(artifact)
        connection = _Connection(transport, name, version, given, engine_options, make_runner)
        model = connection.model(head)
    except BaseException:
        transport.close()  # an open channel would keep trying
        raise
    # An engine is part of a cycle, which Python frees at some time, and a Triton server that stops
    # waits for each open connection.
    finalize(model, transport.close).atexit = False
    if not headers:  # a secret stays out of pickles
        absolute = {name: Path(path).absolute() for name, path in given_files.items()}
        model.reopen = partial(again, **absolute)
    return model


async def connect_async(
    url: str, name: str, *, head: type[Model] | None = None, **options: Unpack[ConnectOptions]
) -> AsyncModel:
    """Connect for asyncio: the arguments and errors of `connect`, methods to await."""
    return AsyncModel(await asyncio.to_thread(partial(connect, url, name, head=head, **options)))


class _Connection:
    """The connection to a model of one server, which reads it again when it has changed."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        version: str,
        given: Artifact | None,
        engine_options: Mapping[str, Any],
        make_runner: Callable[..., Runner],
    ) -> None:
        self._transport, self._name, self._version = transport, name, version
        self._given = given
        self._engine_options, self._make_runner = engine_options, make_runner
        self._lock = threading.Lock()

    def model(self, head: type[Model] | None = None, *, is_alone: bool = False) -> Model:
        """The model as it is now.

        Args:
            head: The class that the caller expects, or None for any.
            is_alone: True for one way alone, without those of other tasks.

        Raises:
            HeadError: The model has another one.
        """
        served = self._served()
        with self._artifact(served) as artifact:
            manifest = artifact.manifest
            require_class(manifest, head, self._name)
            kind = model_class(manifest)
            if served.takes_texts:
                kind = _TEXT_CLASSES.get(kind, kind)
            own: dict[str, Any] = {}
            ranges = manifest.embedding_ranges
            if ranges is not None:
                own["ranges"] = EmbeddingRanges.read(artifact.file(ranges.file), manifest.dimension)
            if not is_alone and (ways := self._ways(manifest)):
                own["ways"] = ways
            weights = manifest.query_weights
            if weights is not None and not served.takes_texts:
                own["query_weights"] = read_weights(artifact.file(weights), manifest.dimension)
            return kind(
                manifest=manifest,
                variant=served.variant(manifest),
                tokenizer=_tokenizer(served, artifact),
                runner=self._runner(served, manifest),
                calls=Renewal(self._renew),
                **own,
            )

    def _ways(self, manifest: Manifest) -> dict[str, Model]:
        """Return the models beside this one that read the texts of other tasks."""
        found: dict[str, Model] = {}
        others = () if manifest.task is None else {*TASKS} - {manifest.task}
        for task in others:
            if self._given is not None and task not in self._given.manifest.tasks:
                continue
            given = self._given.way(task) if self._given is not None else None
            beside = _Connection(
                self._transport,
                way_name(self._name, task),
                self._version,
                given,
                self._engine_options,
                self._make_runner,
            )
            with suppress(ModelUnavailableError):  # this model is the only way
                found[task] = beside.model(is_alone=True)
        return found

    def _renew(self, model: Model) -> None:
        with self._lock:
            before: TritonEngine = model.runner.engine  # type: ignore[assignment]
            served = self._served()
            if served.version == before.served.version:
                return  # another thread has renewed it
            with self._artifact(served) as artifact:
                manifest = artifact.manifest
                _require_alike(model.manifest, manifest, self._name)
                tokenizer = _tokenizer(served, artifact)
            model.manifest, model.variant = manifest, served.variant(manifest)
            model.tokenizer = tokenizer
            runner = self._runner(served, manifest)
            runner.figures = model.runner.figures
            model.runner = runner  # the last: see `Renewal.__call__`

    def _runner(self, served: ServedModel, manifest: Manifest) -> Runner:
        make = partial(
            self._make_runner,
            width=manifest.dimension,
            by_token=manifest.head_record.by_token,
        )
        kind = TextEngine if served.takes_texts else TritonEngine
        engine = kind(
            self._transport,
            served,
            output=manifest.outputs[0],
            **self._engine_options,
        )
        if served.takes_texts:
            return make(engine, feed=feed_texts)
        return make(engine, feed=feed_of(manifest))

    def _served(self) -> ServedModel:
        """Return the server's description of the version that it serves now."""
        version = self._version or self._transport.versions(self._name)[-1]
        return ServedModel.of(self._name, version, self._transport.config(self._name, version))

    @contextmanager
    def _artifact(self, served: ServedModel) -> Iterator[Artifact]:
        if self._given is not None:
            own = self._given.manifest.task
            yield self._given if own is None else self._given.way(own)
            return
        with served.artifact() as artifact:
            yield artifact


def _transport_kind(protocol: str) -> "type[GrpcTransport | HttpTransport]":
    if protocol == "grpc":
        from lanner.triton.client.grpc_transport import GrpcTransport  # noqa: PLC0415 (an extra)

        return GrpcTransport
    from lanner.triton.client.http_transport import HttpTransport  # noqa: PLC0415 (an extra)

    return HttpTransport


def _tokenizer(served: ServedModel, artifact: Artifact) -> TextTokenizer:
    manifest = artifact.manifest
    if served.takes_texts:
        return ServerTokenizer(manifest, takes_prompts=PROMPT_NAME in served.inputs)
    return open_tokenizer(artifact.file(manifest.tokenizer.file), manifest)


def _require_alike(before: Manifest, after: Manifest, name: str) -> None:
    """Check that the answers of a new version have the same meaning as before."""
    for what in ("head", "dimension", "similarity", "labels", "activation"):
        old, new = getattr(before, what), getattr(after, what)
        if old != new:
            msg = (
                f"the server switched to a version of {name} with another {what} ({new}, before "
                f"{old}), whose answers are not comparable with the earlier ones: connect again"
            )
            raise ServerError(msg)
