"""scikit-learn: a transformer from texts to vectors, for pipelines and column transformers."""

from typing import Any, Self

from lanner.errors import MissingExtraError
from lanner.integrations.opening import ModelOrPlace, opened
from lanner.models.embedding import EmbeddingModel
from lanner.vectors.similarity import Vectors

try:
    import numpy as np
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError as error:
    what = "the adapter for scikit-learn"
    raise MissingExtraError(what, "sklearn", "sklearn") from error


class LannerVectorizer(TransformerMixin, BaseEstimator):
    """Turns texts into vectors. It learns nothing, so it need not be fitted.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server.
        prompt_name: The name of the checkpoint's prompt to put before each text.
        normalize_embeddings: Scale the vectors to length 1.
        truncate_dim: The number of leading dimensions to keep, or None for all.
        options: The arguments of `lanner.load`, or of `lanner.connect` for a URL.
    """

    def __init__(
        self,
        model: ModelOrPlace,
        *,
        prompt_name: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.prompt_name = prompt_name
        self.normalize_embeddings = normalize_embeddings
        self.truncate_dim = truncate_dim
        self.options = options

    def fit(self, X: Any, y: object = None) -> Self:  # noqa: N803 (scikit-learn's names)
        """Open the model."""
        del X, y
        self._opened()
        return self

    def transform(self, X: Any) -> Vectors:  # noqa: N803
        """Return the vectors of texts, float32 [n, dim].

        Args:
            X: A sequence of texts, or a table of one column.
        """
        if len(getattr(X, "shape", ())) == 2 and X.shape[1] == 1:
            X = np.asarray(X)[:, 0]  # noqa: N806
        found: Vectors = self._opened().encode(
            X,
            prompt_name=self.prompt_name,
            normalize_embeddings=self.normalize_embeddings,
            truncate_dim=self.truncate_dim,
        )
        return found

    def get_feature_names_out(self, input_features: object = None) -> Any:
        """Return the names of the dimensions: ``lanner0``, ``lanner1`` and so on."""
        del input_features
        width = self.truncate_dim or self._opened().get_embedding_dimension()
        return np.array([f"lanner{place}" for place in range(width)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_of"}

    def _opened(self) -> EmbeddingModel:
        # Parameters may be set after the model was opened.
        of = (self.model, self.options)
        before = getattr(self, "_of", None)
        if before is None or before[0] != of:
            self._of = (of, opened(self.model, EmbeddingModel, self.options or {}))
        return self._of[1]
