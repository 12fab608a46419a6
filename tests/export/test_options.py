"""The options of an export, and the dependence of its search's trials on them."""

from collections.abc import Callable
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export extra")

from lanner.artifact.quality_budget import QualityBudget
from lanner.errors import LannerError, UnsupportedError, UsageError
from lanner_export.options import MAY_DIFFER, Options

OPTIONS = Options(
    checkpoint="a",
    output=Path("a.lanner"),
    head="auto",
    precisions=("fp32", "int8"),
    calibration=None,
    without_passes=(),
    max_tokens=None,
    truncate_dim=None,
    pooling=None,
    positive_label=None,
    base=None,
    adapters=(),
    allow_pickle=False,
    keep_layers=None,
    vocabulary_from=None,
    segment="auto",
    sif=None,
    sif_smoothing=1e-3,
    remove_component=False,
    quality_data=None,
    budget=None,
    overwrite=False,
)


def text_file(directory: Path) -> Path:
    path = directory / "texts.txt"
    path.write_text("a text")
    return path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head", lambda _: "score"),
        ("calibration", text_file),
        ("without_passes", lambda _: ["one-mask"]),
        ("max_tokens", lambda _: 8),
        ("truncate_dim", lambda _: 8),
        ("pooling", lambda _: "cls"),
        ("positive_label", lambda _: "x"),
        ("keep_layers", lambda _: (0, 2)),
        ("vocabulary_from", text_file),
        ("segment", lambda _: "jieba"),
        ("sif", text_file),
        ("sif_smoothing", lambda _: 1e-4),
        ("remove_component", lambda _: True),
        ("quality_data", text_file),
    ],
)
def test_another_option_is_another_search(
    name: str, value: Callable[[Path], Any], tmp_path: Path
) -> None:
    changed: Any = {name: value(tmp_path)}
    assert replace(OPTIONS, **changed).identity() != OPTIONS.identity()


def test_the_same_options_are_the_same_search(tmp_path: Path) -> None:
    options = replace(OPTIONS, calibration=text_file(tmp_path), keep_layers=(0, 2))
    same = replace(
        options,
        checkpoint="moved",
        output=Path("b.lanner"),
        overwrite=True,
        precisions=("int8",),
        budget=QualityBudget.parse("cosine:0.9"),
        # Only the content of a file counts, not its name.
        calibration=(tmp_path / "texts.txt").rename(tmp_path / "moved.txt"),
        keep_layers=[0, 2],
    )
    identity = same.identity()
    assert "moved" not in str(identity)
    (tmp_path / "texts.txt").write_text("a text")
    assert identity == options.identity()
    (tmp_path / "texts.txt").write_text("another text")
    assert identity != options.identity()


def test_an_option_that_is_added_counts_by_itself() -> None:
    later: Any = make_dataclass("Later", [("added", str, "old")], bases=(Options,), frozen=True)
    values = {option.name: getattr(OPTIONS, option.name) for option in fields(OPTIONS)}
    assert later(**values).identity() == {**OPTIONS.identity(), "added": "'old'"}
    assert later(**values, added="new").identity() != later(**values).identity()


def test_options_that_may_differ_are_options() -> None:
    assert {option.name for option in fields(Options)} >= MAY_DIFFER


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"segment": "mecab"}, UnsupportedError, r"no segmenter 'mecab': use auto, none, jieba"),
        (
            {"sif": Path("a"), "sif_smoothing": 0.0},
            UnsupportedError,
            r"--sif-smoothing must be",
        ),
        ({"remove_component": True}, UsageError, r"--remove-component needs the texts of --sif FI"),
        ({"sif_smoothing": 0.1}, UsageError, r"--sif-smoothing needs the texts of --sif FILE: add"),
    ],
)
def test_options_of_words_that_cannot_be(
    tmp_path: Path, changes: Any, error: type[LannerError], message: str
) -> None:
    with pytest.raises(error, match=message):
        replace(OPTIONS, output=tmp_path / "out", **changes).require_consistent()
