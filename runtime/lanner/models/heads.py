"""The class of each head's model; what else distinguishes a head is in `lanner.artifact.heads`."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from lanner.artifact.heads import Head
from lanner.artifact.manifest import Manifest
from lanner.errors import HeadError, InputTypeError
from lanner.models.base import Model
from lanner.models.classification import ClassificationModel
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel
from lanner.models.sparse import SparseModel
from lanner.models.tagging import TaggingModel
from lanner.models.tokens import TokensModel

if TYPE_CHECKING:

    class AnyModel(  # type: ignore[misc]
        EmbeddingModel,
        SparseModel,
        TokensModel,
        ScoringModel,
        ClassificationModel,
        TaggingModel,
    ):
        """A model of a head that is known when the artifact is opened, and not before.

        Type checkers see the methods of all heads. At run time it is of one of the classes, and a
        method of another head raises `lanner.errors.HeadError`.
        """
else:
    AnyModel = Model

MODELS: dict[str, type[Model]] = {
    Head.EMBED: EmbeddingModel,
    Head.SCORE: ScoringModel,
    Head.CLASSIFY: ClassificationModel,
    Head.TAG: TaggingModel,
    Head.SPARSE: SparseModel,
    Head.TOKENS: TokensModel,
}

ModelT = TypeVar("ModelT", bound=Model)
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def _awaited(
    method: Callable[Concatenate[Any, Arguments], Answer],
) -> Callable[Concatenate["AwaitedMethods", Arguments], Coroutine[Any, Any, Answer]]:
    """Return a method that awaits the method of that name of the model."""
    name = cast("Any", method).__name__

    @wraps(method)
    async def call(
        self: "AwaitedMethods", /, *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> Answer:
        own: Callable[Arguments, Answer] = getattr(self.model, name)
        return await self.answered(own, *arguments, **options)

    return call


class AwaitedMethods:
    """The methods of all heads as coroutines; `lanner.AsyncModel` says how they are awaited.

    Attributes:
        model: The model that answers.
    """

    model: AnyModel

    count_tokens = _awaited(Model.count_tokens)
    encode = _awaited(EmbeddingModel.encode)
    encode_query = _awaited(EmbeddingModel.encode_query)
    encode_document = _awaited(EmbeddingModel.encode_document)
    similarity = _awaited(EmbeddingModel.similarity)
    similarity_pairwise = _awaited(EmbeddingModel.similarity_pairwise)
    search = _awaited(EmbeddingModel.search)
    score = _awaited(ScoringModel.score)
    predict = _awaited(ScoringModel.predict)
    rank = _awaited(ScoringModel.rank)
    classify = _awaited(ClassificationModel.classify)
    tag = _awaited(TaggingModel.tag)
    encode_sparse = _awaited(SparseModel.encode_sparse)
    decode_sparse = _awaited(SparseModel.decode_sparse)
    encode_tokens = _awaited(TokensModel.encode_tokens)

    async def answered(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Answer:
        """Return what a method of the model answers."""
        raise NotImplementedError


def require_class(manifest: Manifest, wanted: type[Model] | None, place: str) -> None:
    """Refuse an artifact of another head than the caller expects.

    Args:
        manifest: The manifest.
        wanted: The class that the caller expects, or None for any.
        place: Where the manifest was found, for the message.

    Raises:
        InputTypeError: `wanted` is not a class of models.
        HeadError: Its head has another class.
    """
    given: object = wanted  # from callers that no type checker has seen
    if given is not None and not (isinstance(given, type) and issubclass(given, Model)):
        msg = f"head must be a class such as lanner.EmbeddingModel, not {wanted!r}"
        raise InputTypeError(msg)
    found = model_class(manifest)
    if wanted is not None and not issubclass(found, wanted):
        msg = (
            f"{place} has the head {manifest.head!r}, whose class is {found.__name__}, and "
            f"head={wanted.__name__} is asked for: leave head out, or give another model"
        )
        raise HeadError(msg)


def model_class(manifest: Manifest) -> type[Model]:
    """The class with the methods of a manifest's head."""
    return MODELS[manifest.head]
