"""mteb: models as its wrappers of sentence-transformers take them."""

from typing import Any

from lanner.errors import MissingExtraError
from lanner.integrations.opening import ModelOrPlace, opened
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel

try:
    from mteb.models import CrossEncoderWrapper, SentenceTransformerEncoderWrapper
except ImportError as error:
    what = "the adapter for mteb"
    raise MissingExtraError(what, "mteb", "mteb") from error


def encoder(model: ModelOrPlace, **options: Any) -> SentenceTransformerEncoderWrapper:
    """Return an encoder for `mteb.evaluate`, named after the artifact and the variant.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """
    return SentenceTransformerEncoderWrapper(opened(model, EmbeddingModel, options))


def cross_encoder(model: ModelOrPlace, **options: Any) -> CrossEncoderWrapper:
    """Return a cross-encoder for `mteb.evaluate`; see `encoder`."""
    return CrossEncoderWrapper(opened(model, ScoringModel, options))
