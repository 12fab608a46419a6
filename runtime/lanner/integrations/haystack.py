"""Haystack: embedders of texts and documents, and a ranker, with serialisation."""

from dataclasses import replace
from typing import Any, Self

from lanner.errors import InputTypeError, MissingExtraError
from lanner.integrations.opening import ModelOrPlace, opened, place_of
from lanner.loading.asynchronous import AsyncModel
from lanner.models.embedding import EmbeddingModel
from lanner.models.heads import ModelT
from lanner.models.scoring import Ranked, ScoringModel

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    what = "the adapter for Haystack"
    raise MissingExtraError(what, "haystack", "haystack") from error


class _Component:
    """The part that all components share: a model that is opened at the first run."""

    def __init__(self, model: ModelOrPlace, settings: dict[str, Any], options: Any) -> None:
        self.model = model
        self.options: dict[str, Any] = dict(options or {})
        self._settings = settings
        self._opened: Any = None
        self._awaited: Any = None

    def _warmed(self, head: type[ModelT]) -> ModelT:
        if self._opened is None:
            self._opened = opened(self.model, head, self.options)
            self._awaited = AsyncModel(self._opened)
        found: ModelT = self._opened
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary.

        Raises:
            UnsupportedError: It was made with a loaded model.
        """
        found: dict[str, Any] = default_to_dict(
            self, model=place_of(self.model), options=self.options, **self._settings
        )
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the component of a dictionary."""
        found: Self = default_from_dict(cls, data)
        return found


@component
class LannerTextEmbedder(_Component):
    """The vector of a query, with the checkpoint's prompt for queries.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server.
        normalize_embeddings: Scale the vectors to length 1.
        truncate_dim: The number of leading dimensions to keep, or None for all.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    def __init__(
        self,
        model: ModelOrPlace,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        how = {"normalize_embeddings": normalize_embeddings, "truncate_dim": truncate_dim}
        _Component.__init__(self, model, how, options)  # component makes another class

    def warm_up(self) -> None:
        """Open the model."""
        self._warmed(EmbeddingModel)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """Return the vector of a text."""
        _require_text(text)
        vector = self._warmed(EmbeddingModel).encode_query(text, **self._settings)
        return {"embedding": vector.tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, Any]:
        """Await `run`."""
        _require_text(text)
        self.warm_up()
        vector = await self._awaited.encode_query(text, **self._settings)
        return {"embedding": vector.tolist()}


@component
class LannerDocumentEmbedder(_Component):
    """The vectors of documents, with the checkpoint's prompt for documents.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server.
        normalize_embeddings: Scale the vectors to length 1.
        truncate_dim: The number of leading dimensions to keep, or None for all.
        meta_fields_to_embed: The fields of the metadata that stand before the content.
        embedding_separator: Stands between them.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    def __init__(
        self,
        model: ModelOrPlace,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        options: dict[str, Any] | None = None,
    ) -> None:
        self._how: dict[str, Any] = {
            "normalize_embeddings": normalize_embeddings,
            "truncate_dim": truncate_dim,
        }
        self._fields = list(meta_fields_to_embed or [])
        self._separator = embedding_separator
        settings = {
            **self._how,
            "meta_fields_to_embed": self._fields,
            "embedding_separator": embedding_separator,
        }
        _Component.__init__(self, model, settings, options)

    def warm_up(self) -> None:
        """Open the model."""
        self._warmed(EmbeddingModel)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Return the documents with their vectors."""
        texts = self._texts(documents)
        vectors = self._warmed(EmbeddingModel).encode_document(texts, **self._how)
        return {"documents": _with_vectors(documents, vectors)}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """Await `run`."""
        texts = self._texts(documents)
        self.warm_up()
        vectors = await self._awaited.encode_document(texts, **self._how)
        return {"documents": _with_vectors(documents, vectors)}

    def _texts(self, documents: list[Document]) -> list[str]:
        _require_documents(documents)
        return [
            self._separator.join(
                [str(one.meta[name]) for name in self._fields if one.meta.get(name)]
                + [one.content or ""]
            )
            for one in documents
        ]


@component
class LannerRanker(_Component):
    """Ranks documents by a cross-encoder; their score becomes that of the cross-encoder.

    Args:
        model: A loaded model of the head `score`, the directory of its artifact, or the URL of a
            model on a server.
        top_k: The number of documents to keep.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    def __init__(
        self, model: ModelOrPlace, top_k: int = 10, options: dict[str, Any] | None = None
    ) -> None:
        _Component.__init__(self, model, {"top_k": top_k}, options)
        self.top_k = top_k

    def warm_up(self) -> None:
        """Open the model."""
        self._warmed(ScoringModel)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, Any]:
        """Return the best documents, the best first."""
        texts = _contents(documents)
        if not texts:
            return {"documents": []}
        ranks = self._warmed(ScoringModel).rank(query, texts, top_k or self.top_k)
        return {"documents": _ranked(documents, ranks)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, Any]:
        """Await `run`."""
        texts = _contents(documents)
        if not texts:
            return {"documents": []}
        self.warm_up()
        ranks = await self._awaited.rank(query, texts, top_k or self.top_k)
        return {"documents": _ranked(documents, ranks)}


def _with_vectors(documents: list[Document], vectors: Any) -> list[Document]:
    rows = vectors.tolist()
    return [replace(one, embedding=row) for one, row in zip(documents, rows, strict=True)]


def _ranked(documents: list[Document], ranks: list[Ranked]) -> list[Document]:
    return [replace(documents[one["corpus_id"]], score=one["score"]) for one in ranks]


def _contents(documents: list[Document]) -> list[str]:
    _require_documents(documents)
    return [one.content or "" for one in documents]


def _require_documents(documents: object) -> None:
    if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
        msg = "documents must be a list of Documents: use LannerTextEmbedder for a text"
        raise InputTypeError(msg)


def _require_text(text: object) -> None:
    if not isinstance(text, str):
        msg = "text must be a str: use LannerDocumentEmbedder for documents"
        raise InputTypeError(msg)
