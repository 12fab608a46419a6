"""The types of the public names; type checkers check `typing_cases.py`."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_overloads, get_type_hints

import pytest

import lanner
from lanner.artifact.heads import HEADS
from lanner.errors import HeadError
from lanner.loading.load import LoadOptions
from lanner.triton.client.connection import ConnectOptions


def public_functions() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for name in lanner.__all__:
        value = getattr(lanner, name)
        if inspect.isfunction(value):
            found[name] = value
        elif inspect.isclass(value):
            found |= {
                f"{name}.{key}": member
                for key, member in inspect.getmembers(value, inspect.isfunction)
                if not key.startswith("_")
            }
    return found


@pytest.mark.parametrize("name", sorted(public_functions()))
def test_no_public_function_returns_any(name: str) -> None:
    function = public_functions()[name]
    kinds = [one.__annotations__["return"] for one in get_overloads(function) or [function]]
    assert Any not in kinds
    assert "Any" not in kinds


@pytest.mark.parametrize(
    ("function", "options"),
    [(lanner.load, LoadOptions), (lanner.connect, ConnectOptions)],
    ids=["load", "connect"],
)
def test_the_options_of_the_overloads_are_those_of_the_function(
    function: Callable[..., Any], options: type
) -> None:
    parameters = inspect.signature(function).parameters
    keywords = {name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert keywords - {"head"} == get_type_hints(options).keys()


def test_every_method_of_a_head_is_awaited() -> None:
    for record in HEADS.values():
        for method in record.methods:
            assert inspect.iscoroutinefunction(getattr(lanner.AsyncModel, method)), method


def test_a_model_of_another_head_than_expected_is_refused(word_artifact: Path) -> None:
    model = lanner.load(word_artifact, head=lanner.EmbeddingModel)
    assert isinstance(model, lanner.EmbeddingModel)
    with pytest.raises(
        HeadError,
        match=r"words.lanner has the head 'embed', whose class is EmbeddingModel, and "
        r"head=ScoringModel is asked for: leave head out, or give another model$",
    ):
        lanner.load(word_artifact, head=lanner.ScoringModel)
