"""The class of each head's model; what else distinguishes a head is in `lanner.artifact.heads`."""

from lanner.artifact.heads import Head
from lanner.artifact.manifest import Manifest
from lanner.models.base import Model
from lanner.models.classification import ClassificationModel
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel
from lanner.models.tagging import TaggingModel

MODELS: dict[str, type[Model]] = {
    Head.EMBED: EmbeddingModel,
    Head.SCORE: ScoringModel,
    Head.CLASSIFY: ClassificationModel,
    Head.TAG: TaggingModel,
}


def model_class(manifest: Manifest) -> type[Model]:
    """The class with the methods of a manifest's head."""
    return MODELS[manifest.head]
