"""This package under another interpreter, whose environment need not have it.

Its folder is loaded by path: on PYTHONPATH it would bring along everything that is installed
beside it, and another environment would no longer be another. It imports nothing but the standard
library.
"""

from __future__ import annotations

from pathlib import Path

_LOAD = """\
import importlib.util, sys
_spec = importlib.util.spec_from_file_location(
    "lanner_perf", {init!r}, submodule_search_locations=[{folder!r}]
)
sys.modules["lanner_perf"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["lanner_perf"])
"""


def program(code: str) -> str:
    """Return code for ``python -c`` that imports `lanner_perf`."""
    folder = Path(__file__).parents[1]
    return _LOAD.format(init=str(folder / "__init__.py"), folder=str(folder)) + code
