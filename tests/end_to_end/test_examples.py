"""The examples run on a tiny base model, and the data that they ship have the expected form."""

import csv
import importlib
import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.checkpoints import SENTENCES, bert_model, plain_checkpoint

from lanner.artifact.artifact import Artifact

EXAMPLES = Path(__file__).parents[2] / "export" / "examples"
DATA = EXAMPLES / "data"
HEADS = {
    "finetune_classifier": "classify",
    "finetune_tagger": "tag",
    "finetune_sentence_bert": "embed",
    "answer_faq": "score",
}


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="needs the export extra")
    return plain_checkpoint(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def example(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """Import a script as Python runs it: its folder comes first on the path."""
    pytest.importorskip("accelerate", reason="the trainers need the dev extra")
    if request.param == "finetune_word_vectors":
        pytest.importorskip("model2vec", minversion="0.10", reason="older ones save pickles")
    datasets = pytest.importorskip("datasets", reason="the trainers need the dev extra")
    transformers = pytest.importorskip("transformers")
    verbosity = transformers.logging.get_verbosity()
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module(request.param)
    transformers.logging.set_verbosity(verbosity)
    transformers.logging.enable_progress_bar()
    datasets.enable_progress_bars()


@pytest.mark.slow
@pytest.mark.parametrize("example", [*HEADS], indirect=True)
def test_what_was_fine_tuned_answers_alike_in_lanner(
    example: ModuleType, tiny_base: Path, tmp_path: Path
) -> None:
    output = tmp_path / "tuned.lanner"
    compared = example.main(
        ["--base", str(tiny_base), "--output", str(output), "--epochs", "1", "--max-steps", "2"]
    )
    artifact = Artifact.open(output)
    assert artifact.manifest.head == HEADS[example.__name__]
    assert {variant.name for variant in artifact.manifest.variants} == {"fp32", "int8"}
    assert compared.columns["Lanner fp32"] == compared.columns["fine-tuned"]
    assert len(compared.columns["Lanner int8"]) == len(compared.texts) > 10
    shown = str(compared)
    assert compared.measure in shown
    assert compared.texts[0][:40] in shown


@pytest.mark.slow
@pytest.mark.parametrize("has_base", [False, True], ids=["own vectors", "a file of vectors"])
@pytest.mark.parametrize("example", ["finetune_word_vectors"], indirect=True)
def test_word_vectors_with_a_softmax_on_top(
    example: ModuleType, tmp_path: Path, has_base: bool
) -> None:
    options = ["--output", str(tmp_path / "words.lanner"), "--epochs", "3"]
    if has_base:
        (tmp_path / "base.txt").write_text("2 3\nbike 1 0 0.5\nrefund 0 1 -0.5\n")
        options += ["--base", str(tmp_path / "base.txt")]
    compared = example.main(options)
    artifact = Artifact.open(tmp_path / "words.lanner")
    assert (artifact.manifest.head, artifact.manifest.architecture.layers) == ("classify", 0)
    assert artifact.manifest.labels == sorted({row["label"] for row in rows("intents.csv")})
    assert compared.columns["Lanner fp32"] == compared.columns["fine-tuned"]
    assert len(compared.columns["Lanner int8"]) == len(compared.texts) == 36


@pytest.mark.slow
@pytest.mark.parametrize("example", ["distill_layers"], indirect=True)
def test_distillation_wins_back_what_dropping_layers_lost(
    example: ModuleType, tmp_path: Path
) -> None:
    base = plain_checkpoint(tmp_path / "base", bert_model(num_hidden_layers=4))
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"{one} and {two}" for one in SENTENCES for two in SENTENCES))
    options = ["--base", str(base), "--texts", str(texts), "--keep-layers", "2"]
    cosines = example.main([*options, "--output", str(tmp_path / "out.lanner"), "--epochs", "8"])
    assert cosines["fine-tuned"] > cosines["before"]
    assert cosines["Lanner fp32"] == pytest.approx(cosines["fine-tuned"], abs=1e-5)
    assert Artifact.open(tmp_path / "out.lanner").manifest.architecture.layers == 2


@pytest.mark.slow
@pytest.mark.parametrize("example", ["answer_faq"], indirect=True)
def test_an_encoder_that_is_given_is_taken(
    example: ModuleType, tiny_base: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    options = ["--base", str(tiny_base), "--output", str(tmp_path / "scorer.lanner")]
    encoder = ["--encoder", str(tiny_artifact.directory)]
    compared = example.main([*options, *encoder, "--epochs", "1", "--max-steps", "1"])
    assert compared.columns["Lanner fp32"] == compared.columns["fine-tuned"]
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"scorer.checkpoint", "scorer.lanner"}  # and without an encoder


@pytest.mark.parametrize("example", ["finetune_tagger"], indirect=True)
def test_entities_become_labels_of_tokens_and_a_score(example: ModuleType) -> None:
    ana, porto = example.Span("PER", 0, 9), example.Span("LOC", 13, 18)
    tokens = [(0, 0), (0, 3), (4, 9), (10, 12), (13, 16), (16, 18), (18, 19), (0, 0)]
    labels = [example.bio_label([ana, porto], *token) for token in tokens]  # Ana Sousa in Porto.
    names = [example.LABELS[n] if n != example.IGNORED else None for n in labels]
    assert names == [None, "B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O", None]
    # One of 2 found and 2 expected entities is right: precision and recall are both a half.
    half = [[ana, example.Span("ORG", 13, 18)]]
    assert example.entity_f1(half, [[ana, porto]]) == 0.5
    assert example.entity_f1([[]], [[ana, porto]]) == 0


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_intents_are_balanced_and_distinct() -> None:
    intents = rows("intents.csv")
    assert set(Counter(row["label"] for row in intents).values()) == {30}
    assert len({row["text"].casefold() for row in intents}) == len(intents)
    assert all(row["text"] == row["text"].strip() != "" for row in intents)


def test_entities_are_where_they_are_said_to_be() -> None:
    lines = (DATA / "entities.jsonl").read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line) for line in lines]
    assert len({sentence["text"] for sentence in sentences}) == len(sentences)
    for sentence in sentences:
        text, entities = sentence["text"], sentence["entities"]
        for entity in entities:
            assert entity["label"] in {"PER", "LOC", "ORG"}
            assert text[entity["start"] : entity["end"]] == entity["text"] != ""
        assert all(one["end"] <= other["start"] for one, other in pairwise(entities))
    assert any(not sentence["entities"] for sentence in sentences)


def test_every_faq_has_questions_in_every_split() -> None:
    faq, questions = rows("faq.csv"), rows("faq_questions.csv")
    assert all(row["question"] and row["answer"] for row in faq)
    assert len({row["question"].casefold() for row in faq + questions}) == len(faq + questions)
    asked = Counter((int(row["faq"]), row["split"]) for row in questions)
    expected = {"train": 8, "validation": 1, "test": 2}
    assert asked == {
        (number, split): count for number in range(len(faq)) for split, count in expected.items()
    }
