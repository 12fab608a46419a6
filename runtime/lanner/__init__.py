"""Lanner: a fine-tuned BERT or Sentence-BERT checkpoint as a low-latency service.

import lanner
model = lanner.load("minilm.lanner")
vectors = model.encode(["A plane is taking off.", "An air plane is taking off."])
model.similarity(vectors, vectors)
"""

from lanner._version import __version__
from lanner.artifact import Artifact
from lanner.errors import LannerError
from lanner.model import EmbeddingModel, load
from lanner.similarity import SearchResult

__all__ = [
    "Artifact",
    "EmbeddingModel",
    "LannerError",
    "SearchResult",
    "__version__",
    "load",
]
