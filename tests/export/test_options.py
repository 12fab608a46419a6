"""The options of an export, and the dependence of its search's trials on them."""

from collections.abc import Callable
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export extra")

from lanner.artifact.quality_budget import QualityBudget
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
    allow_pickle=False,
    keep_layers=None,
    vocabulary_from=None,
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
