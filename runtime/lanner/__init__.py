"""Lanner: a fine-tuned BERT or Sentence-BERT checkpoint as a low-latency service.

import lanner
model = lanner.load("minilm.lanner")
vectors = model.encode(["A plane is taking off.", "An air plane is taking off."])
model.similarity(vectors, vectors)
"""

from lanner._version import __version__
from lanner.artifact import Artifact
from lanner.asynchronous import AsyncModel, load_async
from lanner.classification import Classification, ClassificationModel
from lanner.connection import connect, connect_async
from lanner.embedding import EmbeddingModel
from lanner.embedding_precision import quantize_embeddings
from lanner.entities import Entity
from lanner.errors import LannerError
from lanner.loading import load
from lanner.retrieval import Hit, retrieve
from lanner.scoring import ScoringModel
from lanner.similarity import SearchResult
from lanner.tagging import TaggingModel

__all__ = [
    "Artifact",
    "AsyncModel",
    "Classification",
    "ClassificationModel",
    "EmbeddingModel",
    "Entity",
    "Hit",
    "LannerError",
    "ScoringModel",
    "SearchResult",
    "TaggingModel",
    "__version__",
    "connect",
    "connect_async",
    "load",
    "load_async",
    "quantize_embeddings",
    "retrieve",
]
