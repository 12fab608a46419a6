"""The kinds of subjects: how each is imported and loaded, and what it says of itself.

A module a runtime. They run in the subject's process, which may be of an environment without
Lanner: they import nothing but the standard library until a kind is loaded.
"""

from collections.abc import Callable, Mapping
from importlib import import_module

from lanner_perf.kinds.loaded import PACKAGES, AnswerMany, Encode, Loaded

__all__ = ["PACKAGES", "AnswerMany", "Encode", "Load", "Loaded", "loader_of"]

#: Takes a path, the options of the subject, and the number of threads that it may use.
Load = Callable[[str, Mapping[str, str], int], Loaded]


def loader_of(kind: str) -> Load:
    """Return what loads a kind: `load_some_runtime` of `some_runtime.py` for ``"some-runtime"``."""
    name = kind.replace("-", "_")
    load: Load = getattr(import_module(f"{__name__}.{name}"), f"load_{name}")
    return load
