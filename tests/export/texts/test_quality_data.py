import json
from pathlib import Path
from typing import Any

import pytest

from lanner.errors import InputError, UnsupportedError
from lanner.files.texts import LabelledPairs
from lanner_export.texts.quality_data import LabelledTexts, QualityData, Span, TaggedTexts

NAMES = ["delivery", "return|refund", "7"]


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def entity(label: str = "PER", start: int = 0, end: int = 3, **more: Any) -> dict[str, Any]:
    return {"label": label, "start": start, "end": end, **more}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a,b,5.0\nc,d,0\n"),
        ("a.csv", "sentence1,sentence2,score\na,b,5.0\nc,d,0\n"),
        ("a.csv", "id,score,sentence2,sentence1\n1,5,b,a\n2,0,d,c\n"),
        (
            "a.jsonl",
            lines(
                {"sentence1": "a", "sentence2": "b", "score": 5},
                {"sentence1": "c", "sentence2": "d", "score": "0"},
            ),
        ),
    ],
)
def test_pairs(tmp_path: Path, name: str, content: str) -> None:
    data = QualityData.read(written(tmp_path / name, content))
    assert data.name == name
    assert data.labelled == LabelledPairs(["a", "c"], ["b", "d"], [5.0, 0.0])
    for head in ("embed", "score"):
        data.require_measurable(head, [], "identity")


def texts(path: Path, content: str) -> LabelledTexts:
    labelled = QualityData.read(written(path, content)).labelled
    assert isinstance(labelled, LabelledTexts)
    return labelled


def test_labels_by_name_or_number(tmp_path: Path) -> None:
    found = texts(tmp_path / "a.csv", 'label,text\ndelivery,a\n7,"b, c"\nreturn|refund,d\n1,e\n')
    assert found.inputs == ["a", "b, c", "d", "e"]
    # "7" is the name of the third label; there is no label with the number 7.
    assert found.holding(NAMES, is_many=False).argmax(axis=1).tolist() == [0, 2, 1, 1]
    found = texts(tmp_path / "a.jsonl", lines({"text": "a", "label": 2}, {"text": "b", "label": 0}))
    assert found.holding(NAMES, is_many=False).argmax(axis=1).tolist() == [2, 0]


def test_pairs_with_labels(tmp_path: Path) -> None:
    found = texts(tmp_path / "a.csv", "text,text_pair,label\na,b,0\nc,,1\n")
    assert found.inputs == [("a", "b"), ("c", "")]
    records = lines({"text": "a", "text_pair": "b", "label": 0}, {"text": "c", "label": 1})
    assert texts(tmp_path / "a.jsonl", records).inputs == [("a", "b"), "c"]


def test_several_labels_at_once(tmp_path: Path) -> None:
    expected = [[True, False, True], [False, True, False], [False] * 3, [True, False, False]]
    rows = "text,label\na,delivery | 7\nb,return|refund\nc,\nd,0\n"
    found = texts(tmp_path / "a.csv", rows)
    assert found.holding(NAMES, is_many=True).tolist() == expected
    records = lines(
        {"text": "a", "label": ["delivery", 2]},
        {"text": "b", "label": "return|refund"},
        {"text": "c", "label": []},
        {"text": "d", "label": ["delivery"]},
    )
    found = texts(tmp_path / "a.jsonl", records)
    assert found.holding(NAMES, is_many=True).tolist() == expected


def test_numbers_of_a_regression(tmp_path: Path) -> None:
    data = QualityData.read(written(tmp_path / "a.csv", "text,label\na,1.5\nb,-2\n"))
    assert isinstance(data.labelled, LabelledTexts)
    assert data.labelled.numbers() == [1.5, -2]
    data.require_measurable("classify", ["price"], "identity")


def test_entities(tmp_path: Path) -> None:
    rows = lines(
        {"text": "Ada in Rom 🦅", "entities": [entity(text="Ada"), entity("LOC", 7, 10)]},
        {"text": "nothing", "entities": []},
    )
    data = QualityData.read(written(tmp_path / "a.jsonl", rows))
    assert isinstance(data.labelled, TaggedTexts)
    assert data.labelled.inputs == ["Ada in Rom 🦅", "nothing"]
    assert data.labelled.entities == [
        frozenset({Span("PER", 0, 3), Span("LOC", 7, 10)}),
        frozenset(),
    ]
    data.require_measurable("tag", ["O", "B-PER", "I-PER", "LOC"], "softmax")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a", r"a.txt has an unsupported format: use .csv, .jsonl"),
        ("a.csv", "", r"a.csv is empty: expected the columns sentence1,sentence2,score \(heads"),
        ("a.jsonl", "\n", r"a.jsonl is empty: expected the columns sentence1,sentence2,score"),
        ("a.csv", "text,label\n", r"a.csv holds no rows, only the names of its columns"),
        (
            "a.csv",
            "q,r\n1,2\n",
            r"line 1: expected .*,score \(heads embed and score\), text,label \(cla.*q, r$",
        ),
        (
            "a.csv",
            "sentence1,sentence2\na,b\n",
            r"a.csv has no column 'score' in its first line, which holds sentence1, sentence2",
        ),
        ("a.csv", "a,b,5\nc,d\n", r"a.csv, line 2: expected sentence1,sentence2,score with a num"),
        (
            "a.csv",
            "sentence1,sentence2,score\na,b,1\nc,d,high\n",
            r"a.csv, line 3: expected a number in 'score', found 'high'",
        ),
        ("a.csv", "a,b,2\nc,d,2.0\n", r"a.csv has no two differing scores, so Spearman's corr"),
        ("a.csv", "text,label\na\n", r"a.csv, line 2: no value in the column 'label'"),
        ("a.jsonl", '"a"\n', r"a.jsonl, line 1: expected an object with keys"),
        ("a.jsonl", "[" * 100_000, r"a.jsonl, line 1: expected an object with keys"),
        ("a.jsonl", '{"text": "a"}\n', r"a.jsonl, line 1: expected the columns .*, found text"),
        (
            "a.jsonl",
            lines({"text": "a", "label": 1}, {"text": "b"}),
            r"a.jsonl, line 2: expected an object with 'label'",
        ),
        (
            "a.jsonl",
            lines({"text": "a", "label": 1}, {"text": None, "label": 1}),
            r"a.jsonl, line 2: expected text in 'text', found None",
        ),
        ("a.jsonl", '{"text": "\\ud83e", "label": 1}', r"line 1: 'text' is not valid Unicode"),
        ("a.jsonl", lines({"text": "a", "entities": 1}), r"expected a list of objects in 'enti"),
        (
            "a.jsonl",
            lines({"text": "abc", "entities": [entity(), {"label": "PER", "start": True}]}),
            r"a.jsonl, line 1: entity 2 is not an object with 'label' as text, 'start' and 'end'",
        ),
        (
            "a.jsonl",
            lines({"text": "ab", "entities": [entity()]}),
            r"a.jsonl, line 1: entity 1 has the characters 0 to 3, but its text has 2",
        ),
        (
            "a.jsonl",
            lines({"text": "é Ada", "entities": [entity(start=3, end=5, text="Ada")]}),
            r"entity 1 says 'Ada', but the characters 3 to 5 of its text are 'da': count charac",
        ),
        ("a.jsonl", lines({"text": "a", "entities": []}), r"a.jsonl holds no entity, so F1 has"),
    ],
)
def test_bad_files_name_the_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        QualityData.read(written(tmp_path / name, content))


CLASSES = "text,label\na,x\nb,0\n"
ENTITIES = lines({"text": "Ada", "entities": [entity()]})


@pytest.mark.parametrize(
    ("name", "content", "head", "message"),
    [
        (
            "a.csv",
            "a,b,1\nc,d,2\n",
            "tag",
            r"a.csv holds pairs .* the head 'tag': give one of text,entities, or leave --quality-",
        ),
        ("a.csv", "a,b,1\nc,d,2\n", "classify", r"has the head 'classify': give one of text,label"),
        ("a.csv", CLASSES, "score", r"a.csv holds texts with labels, and this checkpoint has the"),
        ("a.jsonl", ENTITIES, "embed", r"a.jsonl holds texts with entities, and this checkpoint"),
    ],
)
def test_data_for_another_head_are_refused(
    tmp_path: Path, name: str, content: str, head: str, message: str
) -> None:
    data = QualityData.read(written(tmp_path / name, content))
    with pytest.raises(UnsupportedError, match=message):
        data.require_measurable(head, ["x", "y"], "softmax")


@pytest.mark.parametrize(
    ("name", "content", "activation", "message"),
    [
        ("a.csv", "text,label\na,x\nb,z\n", "softmax", r"a.csv, line 3: the checkpoint has no lab"),
        ("a.csv", "text,label\na,2\n", "softmax", r"line 2: the checkpoint has no label '2', it "),
        ("a.csv", "text,label\na,x|y\n", "softmax", r"has no label 'x|y', it has x, y"),
        ("a.csv", "text,label\na,x|z\n", "sigmoid", r"has no label 'z', it has x, y"),
        ("a.jsonl", lines({"text": "a", "label": -1}), "softmax", r"has no label -1, it has x, y"),
        ("a.jsonl", lines({"text": "a", "label": True}), "sigmoid", r"has no label True, it has"),
        ("a.jsonl", lines({"text": "a", "label": {}}), "softmax", r"has no label {}, it has x, y"),
    ],
)
def test_unknown_labels_are_named(
    tmp_path: Path, name: str, content: str, activation: str, message: str
) -> None:
    data = QualityData.read(written(tmp_path / name, content))
    with pytest.raises(InputError, match=message):
        data.require_measurable("classify", ["x", "y"], activation)


def test_unknown_entities_are_named(tmp_path: Path) -> None:
    data = QualityData.read(written(tmp_path / "a.jsonl", ENTITIES))
    with pytest.raises(
        InputError, match=r"line 1: the checkpoint has no label 'PER', it has LOC, person$"
    ):
        data.require_measurable("tag", ["O", "B-LOC", "I-LOC", "person"], "softmax")


def test_a_regression_needs_differing_numbers(tmp_path: Path) -> None:
    data = QualityData.read(written(tmp_path / "a.csv", CLASSES))
    with pytest.raises(InputError, match=r"a.csv, line 2: expected a number in 'label', found 'x'"):
        data.require_measurable("classify", ["price"], "identity")
    with pytest.raises(
        UnsupportedError, match=r"this checkpoint answers 2 numbers for each text, and Lanner meas"
    ):
        data.require_measurable("classify", ["price", "weight"], "identity")
    data = QualityData.read(written(tmp_path / "b.csv", "text,label\na,1\nb,1.0\n"))
    with pytest.raises(InputError, match=r"b.csv has no two differing numbers in 'label'"):
        data.require_measurable("classify", ["price"], "identity")


def test_many_labels_are_cut_in_a_message(tmp_path: Path) -> None:
    data = QualityData.read(written(tmp_path / "a.csv", CLASSES))
    with pytest.raises(InputError, match=r"it has l0, l1, .*, l9, \.\.\.$"):
        data.require_measurable("classify", [f"l{n}" for n in range(12)], "softmax")
