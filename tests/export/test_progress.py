import pytest

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.progress import counted


def test_a_long_step_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 60, 3))
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    said: list[str] = []
    assert list(counted("abcde", said.append, "splitting")) == list("abcde")
    assert said == ["splitting: 1 of 5", "splitting: 3 of 5"]
