"""The real checkpoint, the real engine, the real program."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.files.texts import shipped_sentences
from lanner.loading.load import load

PROGRAM = Path(sys.executable).with_name("lanner")
ROOT = Path(__file__).parents[2]
ODD_TEXTS = [
    "",
    " ",
    "x" * 100_000,
    "word " * 20_000,
    "🦅👩‍👩‍👧‍👦",
    "猫在沙发上睡觉。",
    "nul\x00byte",
    "e\u0301",
]

TEXTS = [*shipped_sentences()[::3], *ODD_TEXTS]

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")


@pytest.fixture(scope="module")
def reference(minilm_checkpoint: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(minilm_checkpoint), device="cpu")


@pytest.fixture(scope="module")
def expected(reference: Any) -> Any:
    """Return the vectors of sentence-transformers for `TEXTS`."""
    return reference.encode(TEXTS)


def lanner(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("variant", "least"), [("fp32", 0.99999), ("int8", 0.9)])
def test_vectors_are_those_of_sentence_transformers(
    minilm_artifact: Artifact,
    expected: Any,
    variant: str,
    least: float,
) -> None:
    vectors = load(minilm_artifact.directory, variant=variant).encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert (vectors * expected).sum(axis=1).min() >= least
    if variant == "fp32":
        np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_an_evaluator_of_sentence_transformers_takes_it(
    minilm_artifact: Artifact,
    reference: Any,
    tmp_path: Path,
) -> None:
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    sentences = shipped_sentences()[:40]
    scores = [float(n % 6) for n in range(20)]
    evaluator = evaluation.EmbeddingSimilarityEvaluator(
        sentences[::2], sentences[1::2], scores, name="shipped"
    )
    expected = evaluator(reference)
    model = load(minilm_artifact.directory, variant="fp32")
    measured = evaluator(model, output_path=str(tmp_path))
    assert measured["shipped_spearman_cosine"] == pytest.approx(
        expected["shipped_spearman_cosine"], abs=1e-4
    )
    assert model.model_card_data.evaluations["shipped"] == measured


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_a_quantized_vector_is_that_of_sentence_transformers(
    minilm_artifact: Artifact, expected: Any, precision: str
) -> None:
    model = load(minilm_artifact.directory, variant="fp32")
    vectors = model.encode(TEXTS, precision=precision)
    quantized = sentence_transformers.util.quantize_embeddings(
        expected, precision, model.embedding_ranges()
    )
    assert vectors.dtype == quantized.dtype
    # The last digit may differ before rounding, which changes a byte by one or flips a bit.
    assert (vectors == quantized).mean() > 0.99
    keeps = model.similarity_pairwise(vectors, expected)
    if precision in ("int8", "uint8"):
        assert keeps.min() > 0.999
    else:  # the value for signs of normally distributed components
        assert keeps.mean() == pytest.approx((2 / np.pi) ** 0.5, abs=0.02)
    alone = np.stack([model.encode(text, precision=precision) for text in TEXTS[:20]])
    assert (alone == vectors[:20]).mean() > 0.99


def test_int8_ranks_pairs_as_fp32_does(minilm_artifact: Artifact) -> None:
    from scipy.stats import spearmanr  # noqa: PLC0415

    texts = shipped_sentences()
    pairs = np.triu_indices(len(texts), k=1)
    ranks = []
    for variant in ("fp32", "int8"):
        model = load(minilm_artifact.directory, variant=variant)
        vectors = model.encode(texts)
        ranks.append(model.similarity(vectors, vectors)[pairs])
    assert spearmanr(*ranks).statistic > 0.97


def test_retrieval_evaluators_take_it_too(minilm_artifact: Artifact) -> None:
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    model = load(minilm_artifact.directory, variant="fp32")
    retrieval = evaluation.InformationRetrievalEvaluator(
        {"q": "How do I reset my password?"},
        {"a": "The cat is asleep.", "b": "I forgot my password.", "c": "It rained all night."},
        {"q": {"b"}},
    )
    assert retrieval(model)["cosine_accuracy@1"] == 1
    triplet = evaluation.TripletEvaluator(
        ["a cat sleeps"], ["the cat is asleep"], ["interest rates went up"]
    )
    assert triplet(model)["cosine_accuracy"] == 1


@pytest.mark.no_transformers
def test_the_program_exports_and_answers(minilm_artifact: Artifact) -> None:
    directory = minilm_artifact.directory
    near = lanner("similarity", directory, "A plane is taking off.", "An air plane is taking off.")
    far = lanner("similarity", directory, "A plane is taking off.", "How do I bake bread?")
    assert near.returncode == far.returncode == 0
    assert float(near.stdout) > 0.8
    assert float(far.stdout) < 0.3


@pytest.mark.slow
@pytest.mark.no_transformers
@pytest.mark.parametrize(
    ("head", "arguments"),
    [
        ("score", ["a man plays", "the train leaves"]),
        ("classify", ["a man plays \U0001f3b8", ""]),
        ("tag", ["Our train departs, at seven! \u4e00\u4e2a", "a man " * 2_500]),
    ],
)
def test_every_head_through_the_program(
    request: pytest.FixtureRequest, tmp_path: Path, head: str, arguments: list[str]
) -> None:
    name = {"score": "scorer", "classify": "classifier", "tag": "tagger"}[head]
    checkpoint, output = request.getfixturevalue(f"{name}_checkpoint"), tmp_path / "out.lanner"
    exported = lanner("export", checkpoint, "--output", output, "--json")
    assert exported.returncode == 0, exported.stderr
    assert set(json.loads(exported.stdout)["quality"]["variants"]) >= {"fp32", "int8"}
    shown = lanner("inspect", output)
    assert f"out: {head}, bert, 2 layers" in shown.stdout
    answered = lanner(head, output, *arguments, "--json")
    assert answered.returncode == 0, answered.stderr
    answers = json.loads(answered.stdout)["answers"]
    method = getattr(load(output), head)
    if head == "score":
        assert [answer["score"] for answer in answers] == [method(tuple(arguments))]
    elif head == "classify":
        assert [answer["scores"] for answer in answers] == [a.scores for a in method(arguments)]
    else:
        entities = [[entity.to_json() for entity in found] for found in method(arguments)]
        assert [answer["entities"] for answer in answers] == entities
        assert entities[1][-1]["end"] > len(arguments[1]) - 100
    wrong = lanner("encode", output, "a")
    assert wrong.returncode == 1
    assert wrong.stderr == (
        f"lanner: error: out has the head {head!r}, which does not encode: call its {head}\n"
    )


@pytest.mark.no_transformers
def test_it_answers_after_a_move(minilm_artifact: Artifact, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(minilm_artifact.directory, tmp_path / "elsewhere"))
    done = lanner("encode", moved, "a", "--json")
    assert json.loads(done.stdout)["dimension"] == 384


@pytest.mark.no_transformers
def test_a_reader_that_goes_away_is_no_error(minilm_artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("text\n" * 500)
    command = f"{PROGRAM} encode {minilm_artifact.directory} --input {tmp_path}/many.txt | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('{"text": "text"')
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.no_transformers
@pytest.mark.parametrize(
    ("stop", "step"),
    [
        (signal.SIGTERM, "parity of fp32"),
        (signal.SIGINT, "tracing the graph"),
    ],
)
def test_a_stopped_export_leaves_nothing(
    minilm_checkpoint: Path, tmp_path: Path, stop: signal.Signals, step: str
) -> None:
    output = str(tmp_path / "stopped.lanner")
    command = [str(PROGRAM), "export", str(minilm_checkpoint), "--output", output]
    # A background job ignores an interrupt, and its children inherit that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, ours)
    assert process.stderr is not None
    for line in process.stderr:
        if step in line:
            break
    time.sleep(0.5)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.no_transformers
def test_a_full_disk_is_one_sentence(minilm_checkpoint: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        done = lanner("export", minilm_checkpoint, "--output", disk / "full.lanner")
        assert done.returncode == 1
        message = (
            r"^lanner: error: this export needs \d+\.\d MB in .*/disk, where 2\d\.\d MB are free: "
        )
        assert re.search(
            message + "make room there, or choose another --output$", done.stderr, re.M
        )
        assert "Traceback" not in done.stderr
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
