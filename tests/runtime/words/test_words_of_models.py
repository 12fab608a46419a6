"""Similar words, analogies and evaluations, with the answers of gensim as the reference."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.commands import main
from lanner.errors import InputError, UnsupportedError
from lanner.loading.load import load
from lanner.words.evaluation import evaluate_analogies, evaluate_pairs, is_analogies
from lanner.words.table import WordTable

gensim_models = pytest.importorskip("gensim.models", reason="the reference")
pytest.importorskip("lanner_export.export", reason="makes the artifact")

from lanner_export.export import export  # noqa: E402

DIMENSION = 8
CAPITALS = {f"Town{i}": f"Land{i}" for i in range(12)}
WORDS = [*CAPITALS, *CAPITALS.values(), "king", "queen", "man", "woman", "TOWN1", "zero"]


@pytest.fixture(scope="module")
def vectors() -> Any:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(len(WORDS), DIMENSION)).astype(np.float32)
    # Each land is its town and a common direction, with noise: analogies are right for some.
    rows[12:24] = rows[:12] + 2 + generator.normal(size=(12, DIMENSION)) * 0.9
    rows[-1] = 0
    keyed = gensim_models.KeyedVectors(DIMENSION)
    keyed.add_vectors(WORDS, rows)
    return keyed


@pytest.fixture(scope="module")
def artifact(vectors: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words")
    vectors.save_word2vec_format(str(path / "v.txt"))
    export(path / "v.txt", path / "words.lanner", precisions=["fp32"], warn=lambda _: None)
    return path / "words.lanner"


@pytest.fixture(scope="module")
def table(artifact: Path) -> WordTable:
    return WordTable(load(artifact))


@pytest.mark.parametrize(
    ("positive", "negative"),
    [(["king"], []), (["king", "woman"], ["man"]), (["Town1", "Town2"], []), (["man"], ["Land3"])],
)
def test_similar_words_are_those_of_gensim(
    table: WordTable, vectors: Any, positive: list[str], negative: list[str]
) -> None:
    expected = vectors.most_similar(positive=positive, negative=negative, topn=7)
    found = table.most_similar(positive, negative, 7)
    assert [one.word for one in found] == [word for word, _ in expected]
    np.testing.assert_allclose([one.score for one in found], [s for _, s in expected], atol=1e-6)


def test_a_word_that_is_not_there(table: WordTable) -> None:
    with pytest.raises(InputError, match=r"words has no word 'KING': check its spelling and its c"):
        table.most_similar(["KING"])
    assert len(table.most_similar(["king"], k=1_000)) == len(WORDS) - 1


def test_a_restricted_table(artifact: Path, vectors: Any) -> None:
    few = WordTable(load(artifact), restrict=12)
    expected = vectors.most_similar("Town1", topn=3, restrict_vocab=12)
    assert [one.word for one in few.most_similar(["Town1"], k=3)] == [word for word, _ in expected]


def pair_lines() -> Iterator[str]:
    generator = np.random.default_rng(1)
    # No word twice: the last digit of equal cosines would decide their ranks.
    pairs = [(a, b) for place, a in enumerate(WORDS[:28]) for b in WORDS[place + 1 : 28]]
    for place in generator.choice(len(pairs), 40, replace=False):
        left, right = pairs[place]
        yield f"{left.lower()}\t{right}\t{generator.uniform(0, 10):.2f}"


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_pairs_are_evaluated_as_by_gensim(
    table: WordTable, vectors: Any, tmp_path: Path, suffix: str
) -> None:
    lines = [*pair_lines(), "king\tunheard-of\t3", "# a comment", ""]
    reference = tmp_path / "reference.tsv"
    reference.write_text("\n".join(lines))
    path = tmp_path / f"pairs{suffix}"
    text = "\n".join(["word1\tword2\tsimilarity", *lines])
    path.write_text(text if suffix == ".tsv" else text.replace("\t", ","))
    pearson, spearman, unknown = vectors.evaluate_word_pairs(str(reference))
    found = evaluate_pairs(table, path)
    assert found.spearman == pytest.approx(spearman[0], abs=1e-6)
    assert found.pearson == pytest.approx(pearson[0], abs=1e-6)
    assert (found.pairs, found.unknown) == (40, 1)
    assert unknown == pytest.approx(100 / 41)


def questions(path: Path) -> Path:
    towns = list(CAPITALS)
    lines = [": towns and lands"]
    lines += [
        f"{a} {CAPITALS[a]} {b.lower()} {CAPITALS[b]}" for a in towns for b in towns if a != b
    ]
    lines += [": family", "man woman king queen", "man woman king princess", ": empty"]
    path.write_text("\n".join(lines))
    return path


def test_analogies_are_evaluated_as_by_gensim(
    table: WordTable, vectors: Any, tmp_path: Path
) -> None:
    path = questions(tmp_path / "questions.txt")
    assert is_analogies(path)
    accuracy, sections = vectors.evaluate_word_analogies(str(path))
    found = evaluate_analogies(table, path)
    expected = [
        (one["section"], len(one["correct"]), len(one["correct"] + one["incorrect"]))
        for one in sections
    ]
    shown = [(one.name, one.correct, one.questions) for one in (*found.sections, found.total)]
    assert shown == [*expected[:-1], ("total", *expected[-1][1:])]
    assert 0 < found.total.correct < found.total.questions == 133
    assert found.total.correct / found.total.questions == pytest.approx(accuracy)
    assert [one.unknown for one in found.sections] == [0, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\t1\nking\tman\n", r"line 2 of .* is not two words and a number: repair or remove"),
        ("unheard\tof\t1\n", r"has 0 pairs of words of the table, and two are needed at least"),
        (": s\nking man queen\n", r"line 2 of .* is not four words behind a section \(': NAME'\)"),
        (": s\nking man queen princess\n", r"has no analogy of four words of the table"),
        (b"\xff\xfe", r"cannot be read as lines of UTF-8"),
    ],
)
def test_bad_files_are_named(
    table: WordTable, tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        (evaluate_analogies if is_analogies(path) else evaluate_pairs)(table, path)


def test_a_model_without_words_is_refused(word_artifact: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"has no table of words: give an artifact of"):
        WordTable(load(word_artifact))


def test_the_command(
    artifact: Path, vectors: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["words", "analogy", str(artifact), "man", "king", "woman", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    (first, _), *_ = vectors.most_similar(positive=["king", "woman"], negative=["man"])
    assert answer["question"] == "man : king = woman : ?"
    assert answer["words"][0]["word"] == first
    assert main(["words", "nearest", str(artifact), "king", "man", "--count", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 6
    (tmp_path / "pairs.tsv").write_text("\n".join(pair_lines()))
    files = [str(tmp_path / "pairs.tsv"), str(questions(tmp_path / "questions.txt"))]
    assert main(["words", "evaluate", str(artifact), *files, "--json"]) == 0
    kinds = [one["kind"] for one in json.loads(capsys.readouterr().out)["evaluations"]]
    assert kinds == ["similarities", "analogies"]
    assert main(["words", "evaluate", str(artifact), *files]) == 0
    assert "total" in capsys.readouterr().out
    assert main(["words", "analogy", str(artifact), "man", "king"]) == 2
    assert "takes three words, not 2: A is to B as C is to" in capsys.readouterr().err
