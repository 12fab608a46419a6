"""LlamaIndex: an embedding, and a postprocessor that ranks nodes by a cross-encoder."""

from typing import Any

from lanner.errors import InputError, MissingExtraError
from lanner.integrations.opening import ModelOrPlace, opened
from lanner.loading.asynchronous import AsyncModel
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import Ranked, ScoringModel

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    what = "the adapter for LlamaIndex"
    raise MissingExtraError(what, "llama-index", "llama_index.core") from error

#: Texts of one call: enough to fill batches of one length.
_TEXTS = 512


class LannerEmbedding(BaseEmbedding):
    """The vectors of a model; queries and documents get the checkpoint's own prompts.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server.
        normalize_embeddings: Scale the vectors to length 1.
        truncate_dim: The number of leading dimensions to keep, or None for all.
        embed_batch_size: The most texts of one call.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    _model: EmbeddingModel = PrivateAttr()
    _awaited: AsyncModel = PrivateAttr()
    _how: dict[str, Any] = PrivateAttr()

    def __init__(
        self,
        model: ModelOrPlace,
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        embed_batch_size: int = _TEXTS,
        **options: Any,
    ) -> None:
        found = opened(model, EmbeddingModel, options)
        super().__init__(
            model_name=found.model_card_data.model_name, embed_batch_size=embed_batch_size
        )
        self._model, self._awaited = found, AsyncModel(found)
        self._how = {"normalize_embeddings": normalize_embeddings, "truncate_dim": truncate_dim}

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class."""
        return "LannerEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        found: list[float] = self._model.encode_query(query, **self._how).tolist()
        return found

    async def _aget_query_embedding(self, query: str) -> list[float]:
        found: list[float] = (await self._awaited.encode_query(query, **self._how)).tolist()
        return found

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = self._model.encode_document(texts, **self._how).tolist()
        return found

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = (
            await self._awaited.encode_document(texts, **self._how)
        ).tolist()
        return found


class LannerRerank(BaseNodePostprocessor):
    """Ranks nodes by a cross-encoder; their score becomes that of the cross-encoder.

    Args:
        model: A loaded model of the head `score`, the directory of its artifact, or the URL of a
            model on a server.
        top_n: The number of nodes to keep.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    top_n: int = 2
    _model: ScoringModel = PrivateAttr()
    _awaited: AsyncModel = PrivateAttr()

    def __init__(self, model: ModelOrPlace, *, top_n: int = 2, **options: Any) -> None:
        super().__init__(top_n=top_n)
        self._model = opened(model, ScoringModel, options)
        self._awaited = AsyncModel(self._model)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class."""
        return "LannerRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query, texts = _query_of(query_bundle), _texts_of(nodes)
        return _ranked(nodes, self._model.rank(query, texts, self.top_n))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query, texts = _query_of(query_bundle), _texts_of(nodes)
        return _ranked(nodes, await self._awaited.rank(query, texts, self.top_n))


def _query_of(bundle: QueryBundle | None) -> str:
    if bundle is None:
        msg = "nodes are ranked for a query: pass query_bundle or query_str"
        raise InputError(msg)
    query: str = bundle.query_str
    return query


def _texts_of(nodes: list[NodeWithScore]) -> list[str]:
    return [one.node.get_content(metadata_mode=MetadataMode.EMBED) for one in nodes]


def _ranked(nodes: list[NodeWithScore], ranks: list[Ranked]) -> list[NodeWithScore]:
    return [NodeWithScore(node=nodes[one["corpus_id"]].node, score=one["score"]) for one in ranks]
