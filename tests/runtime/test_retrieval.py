import numpy as np
import pytest

from lanner import retrieve
from lanner.artifact.artifact import Artifact
from lanner.errors import HeadError, InputError
from lanner.loading.load import load
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel

# In the vectors of `tests.support.word_artifact`, "a", "e" and "a a" have one direction and "b" has
# another.
CORPUS = ["b", "a", "e", "c", "a a", "d"]


@pytest.fixture(scope="module")
def scorer(scorer_artifact: Artifact) -> ScoringModel:
    loaded: ScoringModel = load(scorer_artifact.directory, variant="fp32")
    return loaded


def test_the_encoder_recalls_and_the_scorer_ranks(
    word_model: EmbeddingModel, scorer: ScoringModel
) -> None:
    hits = retrieve(word_model, scorer, "a", CORPUS, k=3, candidates=3)
    assert sorted(hit.index for hit in hits) == [1, 2, 4]
    assert [hit.similarity for hit in hits] == pytest.approx([1, 1, 1])
    scores = scorer.score([("a", text) for text in CORPUS])
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores[[1, 2, 4]], reverse=True))
    assert [hit.text for hit in hits] == [CORPUS[hit.index] for hit in hits]


def test_with_all_as_candidates_the_scorer_alone_decides(
    word_model: EmbeddingModel, scorer: ScoringModel
) -> None:
    hits = retrieve(word_model, scorer, "a", CORPUS, k=2)
    scores = scorer.score([("a", text) for text in CORPUS])
    assert [hit.index for hit in hits] == np.argsort(-scores, kind="stable")[:2].tolist()


def test_several_queries_and_vectors_made_before(
    word_model: EmbeddingModel, scorer: ScoringModel
) -> None:
    vectors = word_model.encode_document(CORPUS)
    both = retrieve(word_model, scorer, ["a", "b"], CORPUS, k=2, corpus_vectors=vectors)
    assert both == [retrieve(word_model, scorer, query, CORPUS, k=2) for query in ("a", "b")]


def test_vectors_made_before_may_be_quantized(
    word_model: EmbeddingModel, scorer: ScoringModel
) -> None:
    bits = word_model.encode_document(CORPUS, precision="ubinary")
    hits = retrieve(word_model, scorer, "a", CORPUS, k=6, candidates=3, corpus_vectors=bits)
    assert sorted(hit.index for hit in hits) == list(range(6))
    hits = retrieve(word_model, scorer, "a", CORPUS, k=3, candidates=3, corpus_vectors=bits)
    assert sorted(hit.index for hit in hits) == [1, 2, 4]


def test_a_corpus_with_row_names_is_read_by_position(
    word_model: EmbeddingModel, scorer: ScoringModel
) -> None:
    pandas = pytest.importorskip("pandas", reason="comes with datasets")
    column = pandas.Series(CORPUS, index=range(len(CORPUS), 0, -1))
    assert retrieve(word_model, scorer, "a", column) == retrieve(word_model, scorer, "a", CORPUS)


def test_nothing_to_find(word_model: EmbeddingModel, scorer: ScoringModel) -> None:
    assert retrieve(word_model, scorer, "a", []) == []
    assert retrieve(word_model, scorer, [], CORPUS) == []


def test_what_has_no_meaning_is_refused(word_model: EmbeddingModel, scorer: ScoringModel) -> None:
    with pytest.raises(
        HeadError, match=r"the encoder of retrieve must have the head 'embed', but scorer has 'sco"
    ):
        retrieve(scorer, scorer, "a", CORPUS)  # type: ignore[call-overload]
    with pytest.raises(HeadError, match=r"the scorer of retrieve must have the head 'score'"):
        retrieve(word_model, word_model, "a", CORPUS)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"k must be at least 1, not 0"):
        retrieve(word_model, scorer, "a", CORPUS, k=0)
    with pytest.raises(InputError, match=r"retrieve takes a sequence of texts as its corpus"):
        retrieve(word_model, scorer, "a", "abc")
    with pytest.raises(InputError, match=r"corpus_vectors has 2 rows for 6 texts"):
        retrieve(word_model, scorer, "a", CORPUS, corpus_vectors=np.zeros((2, 4)))
