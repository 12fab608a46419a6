"""An embedding backend of KeyBERT.

KeyBERT takes models of the libraries that it knows. For any other it loads one of its own, without
a word. It takes a backend of its own base class as it is.
"""

from collections.abc import Sequence

from keybert.backend import BaseEmbedder

from lanner.models.embedding import EmbeddingModel
from lanner.vectors.similarity import Vectors


class LannerBackend(BaseEmbedder):  # type: ignore[misc]  # keybert is untyped
    """Gives KeyBERT the vectors of a model.

    Args:
        embedding_model: A loaded model, or one on a server.
    """

    def __init__(self, embedding_model: EmbeddingModel) -> None:
        super().__init__()
        self.embedding_model = embedding_model

    def embed(self, documents: Sequence[str], verbose: bool = False) -> Vectors:
        """Return the vectors of documents or words, float32 [n, dim].

        Args:
            documents: The texts.
            verbose: True shows progress.
        """
        vectors: Vectors = self.embedding_model.encode(list(documents), show_progress_bar=verbose)
        return vectors
