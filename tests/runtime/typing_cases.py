"""The types that checkers give the public methods; mypy and pyright read it, and nothing runs it.

`make types` calls both.
"""

from typing import assert_type

import numpy as np
import torch
from numpy.typing import NDArray

import lanner
from lanner import Classification, EmbeddingModel, Entity, Hit, ScoringModel, SearchResult
from lanner.vectors.precision import Matrix, Vector

PAIRS = [("a question", "a passage")]
Scores = Vector[np.float32]
AnyVectors = NDArray[np.float32 | np.int8 | np.uint8]


def a_model_of_any_head() -> None:
    model = lanner.load("minilm.lanner", engine="onnxruntime", threads=2)
    assert_type(model.encode("a"), Vector[np.float32])
    assert_type(model.classify("a"), Classification)
    assert_type(model.score(PAIRS), Scores)
    # A model of this head is accepted wherever one of a head is.
    assert_type(lanner.retrieve(model, model, "a", ["b"]), list[Hit])


def a_model_of_the_head_that_is_expected() -> None:
    assert_type(lanner.load("minilm.lanner", head=EmbeddingModel), EmbeddingModel)
    assert_type(lanner.connect("grpc://a:1", "m", head=ScoringModel, retries=0), ScoringModel)


def what_encode_answers(model: EmbeddingModel, many: list[str], precision: str) -> None:
    assert_type(model.encode("a"), Vector[np.float32])
    assert_type(model.encode(many), Matrix[np.float32])
    assert_type(model.encode(np.array(many)), Matrix[np.float32])
    assert_type(model.encode(many, "query", None, 64, True), Matrix[np.float32])
    assert_type(model.encode(many, normalize_embeddings=True), Matrix[np.float32])
    assert_type(model.encode("a", precision="int8"), Vector[np.int8])
    assert_type(model.encode(many, precision="binary", truncate_dim=64), Matrix[np.int8])
    assert_type(model.encode("a", precision="uint8"), Vector[np.uint8])
    assert_type(model.encode(many, precision="ubinary"), Matrix[np.uint8])
    assert_type(model.encode(many, precision=precision), AnyVectors)
    assert_type(model.encode(many, convert_to_tensor=True), torch.Tensor)
    assert_type(model.encode("a", convert_to_numpy=False), torch.Tensor)
    assert_type(model.encode(many, convert_to_numpy=False), list[torch.Tensor])
    assert_type(model.encode_query("a"), Vector[np.float32])
    assert_type(model.encode_query(many, precision="int8"), Matrix[np.int8])
    assert_type(model.encode_document(many), Matrix[np.float32])


def what_is_known_of_long_texts(model: EmbeddingModel, many: list[str]) -> None:
    assert_type(model.count_tokens("a"), int)
    assert_type(model.count_tokens(many), NDArray[np.int64])
    assert_type(model.cut_indices(many), list[int])
    assert_type(model.encode(many, on_long="chunk", chunk_overlap=8), Matrix[np.float32])


def what_is_made_of_vectors(model: EmbeddingModel, many: list[str]) -> None:
    vectors = model.encode(many)
    assert_type(model.similarity(vectors, vectors), NDArray[np.float32])
    assert_type(model.similarity([[0.5, 0.5]], vectors), NDArray[np.float32])
    assert_type(model.similarity_pairwise(vectors, vectors), NDArray[np.float32])
    tensor = model.encode(many, convert_to_tensor=True)
    assert_type(model.similarity(tensor, tensor), torch.Tensor)
    assert_type(model.search("a", vectors), SearchResult)
    assert_type(lanner.quantize_embeddings(vectors, "binary"), NDArray[np.int8])
    assert_type(lanner.quantize_embeddings(vectors, "uint8", [[0], [1]]), NDArray[np.uint8])


def what_the_other_heads_answer(
    scorer: ScoringModel, classifier: lanner.ClassificationModel, tagger: lanner.TaggingModel
) -> None:
    assert_type(scorer.score(("a", "b")), np.float32)
    assert_type(scorer.score(["a", "b"]), np.float32)
    assert_type(scorer.score(PAIRS), Scores)
    assert_type(scorer.score([["a", "b"]]), Scores)
    assert_type(scorer.predict(PAIRS), Scores)
    assert_type(scorer.predict(PAIRS, convert_to_tensor=True), torch.Tensor)
    assert_type(scorer.predict(PAIRS, convert_to_numpy=False), list[torch.Tensor])
    assert_type(classifier.classify("a"), Classification)
    assert_type(classifier.classify(["a", ("a", "b")], top_k=3), list[Classification])
    assert_type(tagger.tag("a"), list[Entity])
    assert_type(tagger.tag(["a"]), list[list[Entity]])


def what_a_sparse_model_answers(model: lanner.SparseModel) -> None:
    vectors = model.encode_sparse(["a"])
    assert_type(model.decode_sparse(vectors, top_k=3), list[list[tuple[str, float]]])
    assert_type(model.similarity(vectors, vectors), NDArray[np.float32])


def what_a_model_of_tokens_answers(model: lanner.TokensModel) -> None:
    assert_type(model.encode_tokens("a", task="query"), NDArray[np.float32])
    many = model.encode_tokens(["a"])
    assert_type(many, list[NDArray[np.float32]])
    assert_type(model.similarity(many, many), NDArray[np.float32])


def what_is_retrieved(encoder: EmbeddingModel, scorer: ScoringModel) -> None:
    assert_type(lanner.retrieve(encoder, scorer, "a", ["b"]), list[Hit])
    assert_type(lanner.retrieve(encoder, scorer, ["a"], ["b"], k=3), list[list[Hit]])


async def what_is_awaited() -> None:
    model = await lanner.load_async("minilm.lanner", head=EmbeddingModel, threads=2)
    assert_type(model, lanner.AsyncModel)
    assert_type(await model.encode("a"), Vector[np.float32])
    assert_type(await model.encode(["a"], precision="int8"), Matrix[np.int8])
    assert_type(await model.encode_query(["a"]), Matrix[np.float32])
    assert_type(await model.search("a", ["b"]), SearchResult)
    assert_type(model.model.get_embedding_dimension(), int)
    served = await lanner.connect_async("grpc://a:1", "m", priority=1)
    assert_type(await served.score(PAIRS), Scores)
    assert_type(await served.score(("a", "b")), np.float32)
    assert_type(await served.classify(["a"]), list[Classification])
    assert_type(await served.tag("a"), list[Entity])


def what_is_refused(model: EmbeddingModel) -> None:
    model.classify("a")  # type: ignore[attr-defined]
    model.encode(3)  # type: ignore[call-overload]
    lanner.load("minilm.lanner", enginee="openvino")  # type: ignore[call-overload]
