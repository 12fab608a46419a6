"""LangChain: embeddings, and a document compressor that ranks by a cross-encoder."""

from collections.abc import Sequence
from typing import Any

from lanner.errors import MissingExtraError
from lanner.integrations.opening import ModelOrPlace, opened
from lanner.loading.asynchronous import AsyncModel
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import Ranked, ScoringModel

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from pydantic import PrivateAttr
except ImportError as error:
    what = "the adapter for LangChain"
    raise MissingExtraError(what, "langchain", "langchain_core") from error


class LannerEmbeddings(Embeddings):
    """The vectors of a model; queries and documents get the checkpoint's own prompts.

    Calls that are awaited at the same time share batches.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server.
        normalize_embeddings: Scale the vectors to length 1.
        truncate_dim: The number of leading dimensions to keep, or None for all.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    def __init__(
        self,
        model: ModelOrPlace,
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> None:
        self.model = opened(model, EmbeddingModel, options)
        self._awaited = AsyncModel(self.model)
        self._how: dict[str, Any] = {
            "normalize_embeddings": normalize_embeddings,
            "truncate_dim": truncate_dim,
        }

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of documents."""
        found: list[list[float]] = self.model.encode_document(texts, **self._how).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        found: list[float] = self.model.encode_query(text, **self._how).tolist()
        return found

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Await `embed_documents`."""
        found: list[list[float]] = (
            await self._awaited.encode_document(texts, **self._how)
        ).tolist()
        return found

    async def aembed_query(self, text: str) -> list[float]:
        """Await `embed_query`."""
        found: list[float] = (await self._awaited.encode_query(text, **self._how)).tolist()
        return found


class LannerRerank(BaseDocumentCompressor):
    """Ranks documents by a cross-encoder; `metadata["relevance_score"]` has the score.

    Args:
        model: A loaded model of the head `score`, the directory of its artifact, or the URL of a
            model on a server.
        top_n: The number of documents to keep, or None for all.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    top_n: int | None = 3
    _model: ScoringModel = PrivateAttr()
    _awaited: AsyncModel = PrivateAttr()

    def __init__(self, model: ModelOrPlace, *, top_n: int | None = 3, **options: Any) -> None:
        super().__init__(top_n=top_n)
        self._model = opened(model, ScoringModel, options)
        self._awaited = AsyncModel(self._model)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return the best documents, the best first."""
        del callbacks
        if not documents:
            return []
        texts = [one.page_content for one in documents]
        return _ranked(documents, self._model.rank(query, texts, self.top_n))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Await `compress_documents`."""
        del callbacks
        if not documents:
            return []
        texts = [one.page_content for one in documents]
        return _ranked(documents, await self._awaited.rank(query, texts, self.top_n))


def _ranked(documents: Sequence[Document], ranks: list[Ranked]) -> list[Document]:
    found = []
    for one in ranks:
        document = documents[one["corpus_id"]]
        metadata = {**document.metadata, "relevance_score": one["score"]}
        found.append(document.model_copy(update={"metadata": metadata}))
    return found
