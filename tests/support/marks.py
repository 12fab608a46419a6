"""Marks for some of the cases of a test."""

from typing import Any

import pytest


def slow(*cases: Any) -> list[Any]:
    """Mark cases as slow, if the other cases are enough for a change.

    A tuple is a case with several arguments.
    """
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*one, marks=pytest.mark.slow) for one in values]
