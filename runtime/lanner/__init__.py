"""Lanner: a fine-tuned BERT or Sentence-BERT checkpoint as a low-latency service.

import lanner
model = lanner.load("minilm.lanner")
vectors = model.encode(["A plane is taking off.", "An air plane is taking off."])
model.similarity(vectors, vectors)
"""

from lanner._version import __version__
from lanner.artifact.artifact import Artifact
from lanner.errors import LannerError
from lanner.loading.asynchronous import AsyncModel, load_async
from lanner.loading.load import load
from lanner.models.classification import Classification, ClassificationModel
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel
from lanner.models.sparse import SparseModel
from lanner.models.tagging import TaggingModel
from lanner.models.tokens import TokensModel
from lanner.monitoring.metrics import Metrics, metrics
from lanner.retrieval import Hit, retrieve
from lanner.text.entities import Entity
from lanner.triton.client.connection import connect, connect_async
from lanner.vectors.precision import quantize_embeddings
from lanner.vectors.similarity import SearchResult

__all__ = [
    "Artifact",
    "AsyncModel",
    "Classification",
    "ClassificationModel",
    "EmbeddingModel",
    "Entity",
    "Hit",
    "LannerError",
    "Metrics",
    "ScoringModel",
    "SearchResult",
    "SparseModel",
    "TaggingModel",
    "TokensModel",
    "__version__",
    "connect",
    "connect_async",
    "load",
    "load_async",
    "metrics",
    "quantize_embeddings",
    "retrieve",
]
