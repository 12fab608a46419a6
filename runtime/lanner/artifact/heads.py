"""The heads, what a model may answer: one record each, which all that depends on the head reads.

The classes of their models are in `lanner.models.heads`, which imports this module.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Head(StrEnum):
    """The name of a head, as the manifest and the command line have it."""

    EMBED = "embed"
    SCORE = "score"
    CLASSIFY = "classify"
    TAG = "tag"
    SPARSE = "sparse"
    TOKENS = "tokens"

    def __repr__(self) -> str:
        # As that of a str, for messages.
        return repr(self.value)


class InputKind(Enum):
    """The inputs of a head."""

    TEXTS = "texts"
    PAIRS = "pairs"
    TEXTS_OR_PAIRS = "texts or pairs"


class AnswerKind(Enum):
    """The kind of numbers in an answer: compared by their direction, or one by one."""

    VECTOR = "a vector"
    TERMS = "a weight for each term of a vocabulary"
    NUMBER = "a number"
    LABELS = "a score for each label"


@dataclass(frozen=True, kw_only=True)
class HeadRecord:
    """All that distinguishes a head from the others.

    Attributes:
        head: Its name.
        methods: Its methods, first the one that users look for.
        inputs: What it takes.
        answer: What an answer is; whatever is neither a vector nor terms is logits, one for each
            label.
        by_token: True if it answers for each token, and not for the whole text.
        reads_windows: True if a text beyond the limit is read in windows that overlap; else it is
            cut.
        task: What transformers and optimum call checkpoints with it.
        activation: What turns its logits into scores, or None where the checkpoint says it.
        labelled_measure: One of `lanner.artifact.quality_budget.LABELLED_MEASURES`. A regression is
            measured by the rank correlation, whatever this says.
        agreement_measures: Those of `lanner.artifact.quality_budget.AGREEMENT_MEASURES`, with their
            titles.
        labelled_columns: The columns of data that it is measured on.
        meaning: What the agreement measures mean, and the dependence on the batch.
        noun: What an answer holds, for people.
        call: A call of a model that shows what it does.
        example: Lines of Python that print an answer.
    """

    head: Head
    methods: tuple[str, ...]
    inputs: InputKind
    answer: AnswerKind
    by_token: bool = False
    reads_windows: bool = False
    task: str
    activation: str | None = None
    labelled_measure: str
    agreement_measures: dict[str, str]
    labelled_columns: str
    meaning: str
    noun: str
    call: str
    example: str

    @property
    def answers_vectors(self) -> bool:
        """True if answers are vectors, which are compared by their cosine; else scores."""
        return self.answer in (AnswerKind.VECTOR, AnswerKind.TERMS)

    @property
    def embeds(self) -> bool:
        """True if an answer is one dense vector for a text."""
        return self.answer is AnswerKind.VECTOR and not self.by_token

    @property
    def takes_pairs(self) -> bool:
        """True if it takes pairs of texts, alone or beside texts."""
        return self.inputs is not InputKind.TEXTS


_LOGITS_DEPENDENCE = (
    "Batch dependence is the largest difference of a score between a {what} alone and among all "
    "the others."
)
_RECORDS = (
    HeadRecord(
        head=Head.EMBED,
        methods=(
            "encode",
            "encode_query",
            "encode_document",
            "similarity",
            "similarity_pairwise",
            "search",
        ),
        inputs=InputKind.TEXTS,
        answer=AnswerKind.VECTOR,
        task="feature-extraction",
        labelled_measure="spearman",
        agreement_measures={
            "cosine": "cosine",
            "neighbours@10": "neighbours@10",
            "rank_correlation": "rank correlation",
        },
        labelled_columns="sentence1,sentence2,score",
        meaning="Cosine is the mean over the texts. neighbours@10 is the mean share of a text's "
        "ten nearest neighbours that stay among its ten nearest, and the more texts there are, the "
        "lower it is. Rank correlation is the mean over the texts of that of their similarities to "
        "all others. Batch independence is the smallest cosine between a text's vector alone and "
        "among all the others.",
        noun="vectors",
        call='model.encode("a sentence")',
        example="""\
vectors = model.encode(["A plane is taking off.", "An air plane is taking off."])
print(model.similarity(vectors, vectors))""",
    ),
    HeadRecord(
        head=Head.SCORE,
        methods=("score", "predict", "rank"),
        inputs=InputKind.PAIRS,
        answer=AnswerKind.NUMBER,
        task="text-classification",
        labelled_measure="spearman",
        agreement_measures={"agreement": "rank correlation"},
        labelled_columns="sentence1,sentence2,score",
        meaning="Rank correlation is that of the scores. " + _LOGITS_DEPENDENCE.format(what="pair"),
        noun="a score a pair",
        call='model.score([("a question", "a passage")])',
        example="""\
print(model.score([("A plane is taking off.", "An air plane is taking off.")]))""",
    ),
    HeadRecord(
        head=Head.CLASSIFY,
        methods=("classify",),
        inputs=InputKind.TEXTS_OR_PAIRS,
        answer=AnswerKind.LABELS,
        task="text-classification",
        labelled_measure="accuracy",
        agreement_measures={"agreement": "same labels"},
        labelled_columns="text,label",
        meaning="Same labels is the share of texts with the labels of the checkpoint. "
        + _LOGITS_DEPENDENCE.format(what="text"),
        noun="labels",
        call='model.classify(["a text"])',
        example="""\
print(model.classify(["A plane is taking off."], top_k=3))""",
    ),
    HeadRecord(
        head=Head.TAG,
        methods=("tag",),
        inputs=InputKind.TEXTS,
        answer=AnswerKind.LABELS,
        by_token=True,
        reads_windows=True,
        task="token-classification",
        activation="softmax",
        labelled_measure="f1",
        agreement_measures={"agreement": "same labels"},
        labelled_columns="text,entities",
        meaning="Same labels is the share of tokens with the label of the checkpoint. "
        + _LOGITS_DEPENDENCE.format(what="text"),
        noun="entities",
        call='model.tag(["a text"])',
        example="""\
print(model.tag(["Ada Lovelace was born in London."]))""",
    ),
    HeadRecord(
        head=Head.SPARSE,
        methods=("encode_sparse", "decode_sparse", "similarity", "similarity_pairwise"),
        inputs=InputKind.TEXTS,
        answer=AnswerKind.TERMS,
        task="fill-mask",
        labelled_measure="spearman",
        agreement_measures={
            "cosine": "cosine",
            "terms@20": "terms@20",
            "rank_correlation": "rank correlation",
        },
        labelled_columns="sentence1,sentence2,score",
        meaning="Cosine is the mean over the texts. terms@20 is the mean share of a text's twenty "
        "heaviest terms that stay among its twenty heaviest. Rank correlation is the mean over the "
        "texts of that of their similarities to all others. Batch independence is the smallest "
        "cosine between a text's vector alone and among all the others.",
        noun="weights of terms",
        call='model.encode_sparse("a sentence")',
        example="""\
vectors = model.encode_sparse(["A plane is taking off.", "An air plane is taking off."])
print(model.decode_sparse(vectors, top_k=5))
print(model.similarity(vectors, vectors))""",
    ),
    HeadRecord(
        head=Head.TOKENS,
        methods=("encode_tokens", "similarity", "similarity_pairwise", "rank"),
        inputs=InputKind.TEXTS,
        answer=AnswerKind.VECTOR,
        by_token=True,
        task="feature-extraction",
        labelled_measure="spearman",
        agreement_measures={"cosine": "cosine", "rank_correlation": "rank correlation"},
        labelled_columns="sentence1,sentence2,score",
        meaning="Cosine is the mean over the texts of that over their tokens, read as documents "
        "and as queries. Rank correlation is the mean over the texts of that of their similarities "
        "to all others. Batch independence is the smallest cosine between a token's vectors in a "
        "text alone and among all the others.",
        noun="vectors of tokens",
        call='model.encode_tokens("a sentence")',
        example="""\
queries = model.encode_tokens(["What takes off?"], task="query")
documents = model.encode_tokens(["A plane is taking off.", "The cat is asleep."])
print(model.similarity(queries, documents))""",
    ),
)
#: By name: a plain str finds its record, too.
HEADS: dict[str, HeadRecord] = {record.head: record for record in _RECORDS}
