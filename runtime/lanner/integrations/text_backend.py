"""The vectors of a model in the form that KeyBERT and BERTopic ask a backend for."""

from collections.abc import Sequence

from lanner.models.embedding import EmbeddingModel
from lanner.vectors.similarity import Vectors


class TextBackend:
    """Gives a library the vectors of a model; a base class that comes before the library's own.

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
