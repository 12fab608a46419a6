"""The attributes and arguments that programs for sentence-transformers expect of a model."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES
from tests.support.word_artifact import write_manifest

import lanner
from lanner.artifact.artifact import Artifact
from lanner.errors import ArtifactError, EngineError, InputError, UnsupportedError
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel


def test_arguments_of_sentence_transformers_with_their_defaults(word_model: EmbeddingModel) -> None:
    encode: Any = word_model.encode
    options = {"device": "cpu", "pool": None, "chunk_size": None}
    expected = [0.5, 0.5, 0, 0]
    assert encode(inputs="a b", output_value="sentence_embedding", **options).tolist() == expected
    assert encode(inputs=["a b"], device=None).tolist() == [expected]
    for method in (word_model.encode_query, word_model.encode_document):
        asked: Any = method
        assert asked(inputs="b", prompt="a ", **options).tolist() == expected
    assert word_model.device == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"output_value": "token_embeddings"},
            r"^words does not take output_value='token_embeddings': it answers a vector for each",
        ),
        ({"output_value": None}, r"^words does not take output_value=None: it answers a vector"),
        ({"device": "cuda"}, r"^words does not take device='cuda': pass device to lanner\.load$"),
        ({"pool": {}}, r"^words does not take pool=\{\}: one process takes all cores, so leave it"),
        ({"chunk_size": 7}, r"^words does not take chunk_size=7: leave it out$"),
    ],
)
def test_what_a_model_does_not_do_is_said(
    word_model: EmbeddingModel, options: dict[str, Any], message: str
) -> None:
    for method in (word_model.encode, word_model.encode_query):
        with pytest.raises(UnsupportedError, match=message):
            method("a", **options)


def test_texts_by_two_names_and_by_none(word_model: EmbeddingModel) -> None:
    encode: Any = word_model.encode
    with pytest.raises(InputError, match=r"^give the texts as sentences or as inputs, their name"):
        encode("a", inputs="b")
    with pytest.raises(InputError, match=r"^encode takes a str or a sequence of str, not NoneType"):
        encode()
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'normalise'$"):
        encode("a", normalise=True)


def test_pairs_by_the_arguments_of_a_cross_encoder(scorer_artifact: Artifact) -> None:
    model: ScoringModel = lanner.load(scorer_artifact.directory, variant="fp32", head=ScoringModel)
    predict: Any = model.predict
    pairs = [(SENTENCES[0], text) for text in SENTENCES]
    options = {"activation_fn": None, "apply_softmax": False, "device": "cpu"}
    np.testing.assert_array_equal(predict(inputs=pairs, prompt=None, **options), model.score(pairs))
    ranked = model.rank(SENTENCES[0], SENTENCES, return_documents=True, show_progress_bar=False)
    assert ranked == model.rank(SENTENCES[0], SENTENCES)
    with pytest.raises(UnsupportedError, match=r"does not take apply_softmax=True: it applies the"):
        model.rank("a", ["b"], apply_softmax=True)
    with pytest.raises(UnsupportedError, match=r"^scorer has no prompt 'query: ': put it before"):
        predict(pairs, prompt="query: ")


def test_a_copy_is_the_model_and_a_pickle_opens_it_again(word_model: EmbeddingModel) -> None:
    assert copy.deepcopy([word_model]) == [word_model]
    assert copy.copy(word_model) is word_model
    word_model.default_prompt_name = "query"
    again: EmbeddingModel = pickle.loads(pickle.dumps(word_model))  # noqa: S301 (its own)
    assert again is not word_model
    assert repr(again) == repr(word_model)
    assert again.variant.name == "fp32"
    assert again.encode("b").tolist() == word_model.encode("b").tolist() == [0.5, 0.5, 0, 0]
    word_model.reopen = None
    with pytest.raises(UnsupportedError, match=r"^words cannot be pickled: open it with lanner\.l"):
        pickle.dumps(word_model)


def test_a_pickle_is_read_in_another_directory(
    word_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(word_artifact.parent)
    model = lanner.load(word_artifact.name, threads=1)
    pickled = tmp_path / "model.pickle"
    pickled.write_bytes(pickle.dumps([model, lanner.AsyncModel(model)]))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import pickle, sys\nmodels = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(models, models[0].encode('a b').tolist(), models[1].model is models[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(pickled)],
        cwd=elsewhere,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"[{model}, AsyncModel({model})] [0.5, 0.5, 0.0, 0.0] True\n"


def test_a_pickle_of_a_model_that_has_changed_is_refused(word_artifact: Path) -> None:
    pickled = pickle.dumps(lanner.load(word_artifact))
    write_manifest(word_artifact, prompts={})
    message = (
        r"^words has changed since the model was pickled \(its manifest is \w{12}, then \w{12}\)"
    )
    with pytest.raises(ArtifactError, match=message):
        pickle.loads(pickled)  # noqa: S301 (its own)


def encoded(model: EmbeddingModel, texts: list[str]) -> Any:
    return model.encode(texts)


@pytest.mark.slow
def test_processes_of_joblib_and_spawned_ones_open_the_model(word_model: EmbeddingModel) -> None:
    joblib = pytest.importorskip("joblib")
    work = [["a b"], ["c"], ["b"]]
    expected = [[[0.5, 0.5, 0, 0]], [[0, 0, 1, 0]], [[0, 1, 0, 0]]]
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(word_model.encode)(some) for some in work)
    assert [vectors.tolist() for vectors in found] == expected
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(encoded, [(word_model, some) for some in work])
    assert [vectors.tolist() for vectors in found] == expected


def test_dimensions_that_a_program_cuts_off(word_model: EmbeddingModel) -> None:
    with word_model.truncate_sentence_embeddings(2):
        assert word_model.encode("a b").tolist() == [0.5, 0.5]
        assert word_model.get_sentence_embedding_dimension() == 2
        assert word_model.encode("a b", truncate_dim=1).tolist() == [0.5]
        again: EmbeddingModel = pickle.loads(pickle.dumps(word_model))  # noqa: S301 (its own)
    assert (again.truncate_dim, word_model.truncate_dim) == (2, None)
    assert again.encode(["b"]).tolist() == [[0, 1]]
    word_model.truncate_dim = 5
    with pytest.raises(InputError, match=r"^truncate_dim must be from 1 to 4, not 5$"):
        word_model.encode("a")


def test_settings_of_a_program_that_a_model_has_not(word_model: EmbeddingModel) -> None:
    assert word_model.to("cpu").eval() is word_model
    with pytest.raises(UnsupportedError, match=r"^words does not take device='cuda': pass device"):
        word_model.to("cuda")
    word_model.max_seq_length = 4
    with pytest.raises(
        UnsupportedError, match=r"^words reads at most 4 tokens, not 8: set max_seq"
    ):
        word_model.max_seq_length = 8


def test_a_pool_is_this_process(word_model: EmbeddingModel) -> None:
    pool = word_model.start_multi_process_pool(["cpu", "cpu"])
    expected = [[0.5, 0.5, 0, 0]]
    found = word_model.encode_multi_process(["b"], pool, "query", chunk_size=7, batch_size=1)
    assert found.tolist() == word_model.encode(["b a"], pool=pool).tolist() == expected
    word_model.stop_multi_process_pool(pool)
    with pytest.raises(
        UnsupportedError, match=r"^words does not take device='cuda:0': pass device"
    ):
        word_model.start_multi_process_pool(["cuda:0"])


def test_token_ids_are_those_of_sentence_transformers(
    tiny_checkpoint: Path, tiny_artifact: Artifact, word_model: EmbeddingModel
) -> None:
    st = pytest.importorskip("sentence_transformers")
    model = lanner.load(tiny_artifact.directory, variant="fp32", head=EmbeddingModel)
    expected = st.SentenceTransformer(str(tiny_checkpoint), device="cpu").tokenize([*SENTENCES])
    found = model.tokenize(SENTENCES)
    assert {n: v.tolist() for n, v in found.items()} == {n: expected[n].tolist() for n in found}
    assert found.keys() >= {"input_ids", "attention_mask"}
    assert word_model.tokenize(["a b", "c"])["input_ids"].tolist() == [[2, 3], [4, 0]]


def test_a_step_of_a_scikit_learn_pipeline_is_cloned_and_stored(
    word_model: EmbeddingModel, tmp_path: Path
) -> None:
    base = pytest.importorskip("sklearn.base")
    joblib = pytest.importorskip("joblib")
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import FunctionTransformer, Normalizer  # noqa: PLC0415

    pipeline = make_pipeline(FunctionTransformer(word_model.encode), Normalizer())
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    for one in (base.clone(pipeline), joblib.load(tmp_path / "pipeline.joblib")):
        assert one.fit_transform(["a b", "c"]).tolist() == [
            pytest.approx([0.5**0.5, 0.5**0.5, 0, 0]),
            [0, 0, 1, 0],
        ]


def test_a_closed_model_answers_nothing(word_artifact: Path) -> None:
    with lanner.load(word_artifact, variant="fp32") as model:
        assert model.encode("a").tolist() == [1, 0, 0, 0]
    with pytest.raises(EngineError, match=r"^words was closed: open it again with lanner\.load or"):
        model.encode("a")
    model.close()


def test_what_caches_tell_models_by(word_artifact: Path) -> None:
    fp32, int8 = (lanner.load(word_artifact, variant=name) for name in ("fp32", "int8"))
    cards = [fp32.model_card_data, int8.model_card_data]
    assert [card.base_model for card in cards] == ["made by hand (fp32)", "made by hand (int8)"]
    assert [card.model_name for card in cards] == ["lanner/words-fp32", "lanner/words-int8"]


def test_a_side_that_is_a_tensor_gives_a_tensor(word_model: EmbeddingModel) -> None:
    torch = pytest.importorskip("torch")
    vectors = word_model.encode(["a", "b"])
    for a, b in ((vectors, torch.from_numpy(vectors)), (torch.from_numpy(vectors), vectors)):
        for method in (word_model.similarity, word_model.similarity_pairwise):
            assert isinstance(method(a, b), torch.Tensor)


@pytest.mark.slow
def test_hard_negatives_are_those_of_sentence_transformers(
    tiny_checkpoint: Path, tiny_artifact: Artifact
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    datasets = pytest.importorskip("datasets")
    from sentence_transformers.util import mine_hard_negatives  # noqa: PLC0415

    pairs = {"anchor": SENTENCES[:3], "positive": SENTENCES[1:4]}
    found = [
        mine_hard_negatives(
            datasets.Dataset.from_dict({name: list(texts) for name, texts in pairs.items()}),
            model,
            num_negatives=1,
            verbose=False,
        ).to_dict()
        for model in (
            lanner.load(tiny_artifact.directory, variant="fp32"),
            sentence_transformers.SentenceTransformer(str(tiny_checkpoint), device="cpu"),
        )
    ]
    assert found[0] == found[1]
