"""A head is a record and a class; no other code knows its name."""

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.word_artifact import write_manifest

import lanner
from lanner.artifact import heads
from lanner.artifact.heads import HEADS, AnswerKind, Head, InputKind
from lanner.commands import main
from lanner.errors import HeadError
from lanner.models import heads as classes
from lanner.models.embedding import EmbeddingModel
from lanner.models.heads import MODELS

SOURCES = [Path(lanner.__file__).parent, Path(lanner.__file__).parents[2] / "export/lanner_export"]


def test_each_head_has_a_record_and_a_class_with_its_methods() -> None:
    assert list(HEADS) == list(MODELS) == list(Head)
    for name, record in HEADS.items():
        assert record.head == name
        for method in record.methods:
            assert callable(getattr(MODELS[name], method)), f"{MODELS[name]} has no {method}"


def test_a_head_is_written_as_its_name() -> None:
    assert f"{Head.TAG} {Head.TAG!r}" == "tag 'tag'"


@pytest.mark.parametrize(
    ("head", "inputs", "answer", "takes_pairs", "answers_vectors"),
    [
        (Head.EMBED, InputKind.TEXTS, AnswerKind.VECTOR, False, True),
        (Head.SCORE, InputKind.PAIRS, AnswerKind.NUMBER, True, False),
        (Head.CLASSIFY, InputKind.TEXTS_OR_PAIRS, AnswerKind.LABELS, True, False),
        (Head.TAG, InputKind.TEXTS, AnswerKind.LABELS, False, False),
        (Head.SPARSE, InputKind.TEXTS, AnswerKind.TERMS, False, True),
        (Head.TOKENS, InputKind.TEXTS, AnswerKind.VECTOR, False, True),
    ],
)
def test_what_a_head_takes_and_answers(
    head: Head, inputs: InputKind, answer: AnswerKind, takes_pairs: bool, answers_vectors: bool
) -> None:
    record = HEADS[head]
    assert (record.inputs, record.answer) == (inputs, answer)
    assert (record.takes_pairs, record.answers_vectors) == (takes_pairs, answers_vectors)


class WidthModel(EmbeddingModel):
    """A model that answers with the length of each text's vector."""

    def measure(self, texts: Sequence[str]) -> list[float]:
        return [float(np.linalg.norm(row)) for row in self.outputs(texts)]


def test_a_record_and_a_class_make_a_head(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = replace(HEADS["embed"], methods=("measure",), noun="lengths")
    monkeypatch.setitem(heads.HEADS, "measure", record)
    monkeypatch.setitem(classes.MODELS, "measure", WidthModel)
    write_manifest(word_artifact, head="measure")
    model: object = lanner.load(word_artifact, variant="fp32")
    assert isinstance(model, WidthModel)
    assert model.measure(["a", "b c"]) == pytest.approx([1.0, 0.5**0.5])
    with pytest.raises(HeadError, match=r"head 'measure', which does not tag: call its measure$"):
        lanner.load(word_artifact, variant="fp32").tag("a")
    assert main(["inspect", str(word_artifact)]) == 0
    assert "words: measure, words of 8 words" in capsys.readouterr().out


def head_comparisons(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Compare):
            continue
        names = [getattr(part, "attr", getattr(part, "id", "")) for part in ast.walk(node)]
        values = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
        if "head" in names and values & set(HEADS):
            found.append(f"{path}:{node.lineno}")
    return found


def test_nothing_compares_the_name_of_a_head() -> None:
    files = [path for root in SOURCES for path in root.rglob("*.py")]
    assert [place for path in files for place in head_comparisons(path)] == []


def test_a_comparison_is_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('if manifest.head in ("score", "tag"):\n    x = head == "other"\n')
    assert head_comparisons(path) == [f"{path}:1"]
