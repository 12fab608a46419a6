"""The language of docstrings: they begin with a verb or a noun phrase."""

import ast
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_REFUSED = ("What", "How", "Whether", "Which", "Where", "Who")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("root", ["runtime", "export", "perf", "tests"])
def test_no_docstring_begins_with_a_question_word(root: str) -> None:
    found = [
        f"{path.relative_to(_ROOT)}: {text.splitlines()[0]}"
        for path in sorted((_ROOT / root).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node))
        if text.startswith(tuple(f"{word} " for word in _REFUSED))
    ]
    assert found == []
