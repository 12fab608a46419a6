"""Code that imports this package under another interpreter, whose environment may lack it.

The package is loaded from its folder. PYTHONPATH would also bring every other package that is
installed beside it, and the other environment would no longer be its own. This module imports only
the standard library.
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
