import logging
import sys
import warnings

import pytest

from lanner_export.graph.quiet import quiet


def test_chatter_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("a progress bar")
        print("a progress bar", file=sys.stderr)
        logging.getLogger("framework").warning("weights are new")
        warnings.warn("old", stacklevel=1)
    assert capfd.readouterr() == ("", "")


def test_an_error_passes() -> None:
    with pytest.raises(ValueError, match="what went wrong"), quiet():
        raise ValueError("what went wrong")


def test_logging_works_afterwards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a program without handlers
    with quiet():
        logging.info("what gives the root logger a handler")
    logging.getLogger("program").warning("a record of the program's own")
    assert "Logging error" not in capsys.readouterr().err
    assert logging.root.handlers == []
