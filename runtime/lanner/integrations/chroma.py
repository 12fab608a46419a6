"""Chroma: an embedding function, which a collection stores by its name and configuration."""

from typing import Any

from lanner.errors import MissingExtraError
from lanner.integrations.opening import ModelOrPlace, opened, place_of
from lanner.models.embedding import EmbeddingModel

try:
    from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space
    from chromadb.utils.embedding_functions import register_embedding_function
except ImportError as error:
    what = "the adapter for Chroma"
    raise MissingExtraError(what, "chroma", "chromadb") from error

#: The spaces of Chroma by the similarity of a checkpoint.
_SPACES: dict[str, Space] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}


@register_embedding_function  # so that a collection finds it
class LannerEmbeddingFunction(EmbeddingFunction[Documents]):
    """The vectors of a model; queries and documents get the checkpoint's own prompts.

    Import this module before a collection that was made with it is opened again.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server. A
            collection stores a path or a URL, but no loaded model.
        normalize_embeddings: Scale the vectors to length 1.
        truncate_dim: The number of leading dimensions to keep, or None for all.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    def __init__(
        self,
        model: ModelOrPlace,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> None:
        self._place, self._options = model, options
        self._how: dict[str, Any] = {
            "normalize_embeddings": normalize_embeddings,
            "truncate_dim": truncate_dim,
        }
        self.model = opened(model, EmbeddingModel, options)

    def __call__(self, input: Documents) -> Embeddings:  # noqa: A002 (the name that Chroma gives it)
        """Return the vectors of documents."""
        return list(self.model.encode_document(list(input), **self._how))

    def embed_query(self, input: Documents) -> Embeddings:  # noqa: A002
        """Return the vectors of queries."""
        return list(self.model.encode_query(list(input), **self._how))

    @staticmethod
    def name() -> str:
        """Return the name that a collection stores."""
        return "lanner"

    def default_space(self) -> Space:
        """Return the space of the checkpoint's similarity."""
        return _SPACES.get(self.model.similarity_fn_name, "l2")

    def supported_spaces(self) -> list[Space]:
        """Return all spaces."""
        return ["cosine", "l2", "ip"]

    def get_config(self) -> dict[str, Any]:
        """Return the configuration that a collection stores.

        Raises:
            UnsupportedError: The function was made with a loaded model.
        """
        return {"model": place_of(self._place), **self._how, **self._options}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "LannerEmbeddingFunction":
        """Return the function of a stored configuration."""
        return LannerEmbeddingFunction(**config)

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Accept any configuration: opening the model checks it."""
        del config
