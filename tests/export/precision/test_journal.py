import math
import os
from pathlib import Path

import pytest

from lanner.errors import OutputError
from lanner_export.precision.journal import Journal

IDENTITY = {"graph": "a", "labels": ""}


def recalled(path: Path, **changes: str) -> tuple[int, Journal]:
    journal = Journal(path)
    return journal.recall({**IDENTITY, **changes}), journal


def test_it_lies_beside_the_output() -> None:
    assert Journal.beside(Path("models/a.lanner")).path == Path("models/.a.lanner.search.jsonl")


def test_trials_are_known_to_the_next_run(tmp_path: Path) -> None:
    number, journal = recalled(tmp_path / "j")
    assert number == 0
    journal.note("all", 0.25)
    journal.note("none", math.nan)
    number, journal = recalled(tmp_path / "j")
    assert number == 2
    assert journal.get("all") == 0.25
    assert math.isnan(journal.get("none") or 0)
    assert journal.get("some") is None
    journal.remove()
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_half_a_line_costs_one_trial(tmp_path: Path) -> None:
    _, journal = recalled(tmp_path / "j")
    journal.note("first", 1)
    journal.note("second", 2)
    text = journal.path.read_bytes()
    journal.path.write_bytes(text[:-9] + b"\xc3")
    number, journal = recalled(tmp_path / "j")
    assert (number, journal.get("second")) == (1, None)
    journal.note("third", 3)
    number, journal = recalled(tmp_path / "j")
    assert (number, journal.get("first"), journal.get("third")) == (2, 1, 3)


def test_what_depends_on_something_else_is_passed_over_and_kept(tmp_path: Path) -> None:
    _, journal = recalled(tmp_path / "j")
    journal.note("all", 1)
    number, other = recalled(tmp_path / "j", labels="others")
    assert (number, other.get("all")) == (0, None)
    other.note("all", 2)
    journal.note("none", 3)  # two runs at once
    assert recalled(tmp_path / "j")[1].get("all") == 1
    assert recalled(tmp_path / "j")[1].get("none") == 3
    assert recalled(tmp_path / "j", labels="others")[1].get("all") == 2


def test_other_people_s_lines_are_no_trials(tmp_path: Path) -> None:
    (tmp_path / "j").write_text('\n3\n[]\n{"search": 1}\nnull\n' + "[" * 10**5 + "\n")
    assert recalled(tmp_path / "j")[0] == 0


def test_a_number_that_no_trial_has_is_none(tmp_path: Path) -> None:
    _, journal = recalled(tmp_path / "j")
    journal.note("all", 10**400)
    assert recalled(tmp_path / "j")[0] == 0


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory"])
def test_what_somebody_prepared_is_neither_read_nor_written(tmp_path: Path, kind: str) -> None:
    path, precious = tmp_path / "j", tmp_path / "precious"
    precious.write_text("mine")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(precious if kind == "link" else tmp_path / "new")
    message = rf"^{path} is not a file of Lanner: inspect and remove it$"
    with pytest.raises(OutputError, match=message):
        recalled(path)
    with pytest.raises(OSError, match=str(path)):
        Journal(path).note("all", 1)
    assert precious.read_text() == "mine"
    assert not (tmp_path / "new").exists()
