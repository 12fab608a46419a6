"""The kinds of subjects: one module for each runtime, which imports, loads and describes it.

The modules run in the subject's process, whose environment may lack Lanner. Until a kind is loaded,
they import nothing but the standard library.
"""

from collections.abc import Callable, Mapping
from importlib import import_module

from lanner_perf.loading.loaded import PACKAGES, AnswerMany, Encode, Loaded

__all__ = ["PACKAGES", "AnswerMany", "Encode", "Load", "Loaded", "loader_of"]

#: The loader of a kind. It takes a path, the options of the subject, and the number of threads that
#: the subject may use.
Load = Callable[[str, Mapping[str, str], int], Loaded]


def loader_of(kind: str) -> Load:
    """Return the loader of a kind, such as `load_some_runtime` for ``"some-runtime"``."""
    name = kind.replace("-", "_")
    load: Load = getattr(import_module(f"{__name__}.{name}"), f"load_{name}")
    return load
