"""mteb: an encoder by its wrapper of sentence-transformers, and a cross-encoder."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.errors import MissingExtraError
from lanner.integrations.opening import ModelOrPlace, opened
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel

try:
    from mteb.models import ModelMeta, SentenceTransformerEncoderWrapper
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


class LannerCrossEncoder:
    """A cross-encoder for `mteb.evaluate`, named after the artifact and the variant.

    Args:
        model: A loaded model of the head `score`, the directory of its artifact, or the URL of a
            model on a server.
        revision: Without effect.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    def __init__(self, model: ModelOrPlace, revision: str | None = None, **options: Any) -> None:
        del revision
        self.model = opened(model, ScoringModel, options)
        name = self.model.model_card_data.model_name
        self.mteb_model_meta = ModelMeta.create_empty({"name": name, "loader": type(self)})

    def predict(
        self,
        inputs1: Iterable[Mapping[str, Any]],
        inputs2: Iterable[Mapping[str, Any]],
        *,
        task_metadata: object,
        hf_split: str,
        hf_subset: str,
        prompt_type: object = None,
        **options: Any,
    ) -> NDArray[np.float32]:
        """Return the scores of pairs of texts, float32 [n]; mteb says what the arguments are."""
        del task_metadata, hf_split, hf_subset, prompt_type
        left, right = (
            [text for one in given for text in one["text"]] for given in (inputs1, inputs2)
        )
        pairs = list(zip(left, right, strict=True))
        return self.model.score(pairs, batch_size=options.get("batch_size", 32))
