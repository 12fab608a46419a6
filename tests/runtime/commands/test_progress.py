import io
import sys

import pytest

from lanner.commands.console import Progress
from lanner.files.rows import GivenRows


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock of the seconds that have gone by."""
    now_s = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    return now_s


def test_a_log_gets_a_line_a_minute(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    rows = GivenRows(["x"] * 10_000)
    rows.skip(1_000)
    with Progress(rows) as progress:
        progress.show(1_000)
        for _ in range(6):
            rows.skip(1_000)
            clock[0] += 25
            progress.show(rows.position)
    # In 75 s 3,000 of 9,000 texts are done, so 6,000 are left. The first 1,000 are not counted.
    assert capsys.readouterr().err == (
        "4,000 texts, 40 texts/s, 02:30 left\n7,000 texts, 40 texts/s, 01:15 left\n"
    )


def test_nobody_knows_how_much_is_left_of_a_stream(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = GivenRows(["x"] * 10)
    rows.total = None
    with Progress(rows) as progress:
        progress.show(0)
        rows.skip(5)
        clock[0] += 100
        progress.show(5)
    assert capsys.readouterr().err == "5 texts, 0 texts/s\n"


@pytest.mark.parametrize("is_known", [True, False])
def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, is_known: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    rows = GivenRows(["x"] * 4)
    if not is_known:
        rows.total = None
    with Progress(rows) as progress:
        progress.show(0)
        rows.skip(3)
        progress.show(3)
    last = terminal.getvalue().strip().rpartition("\r")[2]
    assert "3 texts, " in last
    assert (" 75% |" in last) == is_known
    assert (" left]" in last) == is_known


def test_without_a_first_call_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(GivenRows([])):
        pass
    assert capsys.readouterr().err == ""
