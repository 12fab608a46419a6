"""Marks for some of the cases of a test."""

from typing import Any

import pytest


def slow(*cases: Any) -> list[Any]:
    """Mark cases slow: others of the test are enough for a change. A tuple is a case of several."""
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*one, marks=pytest.mark.slow) for one in values]
