"""Reading a classifier that joblib pickled, without running code from the pickle.

The pickle is read into stand-ins that only record their arguments, and only a closed list of names
has one: scikit-learn's linear classifiers and numpy's arrays. joblib writes the bytes of an array
into the middle of its pickle, right behind the stand-in of the array.
"""

import pickle
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.checkpoint.standins import MULTIARRAYS, Standin, array_of, reason
from lanner_export.linear.estimators import Estimator

#: Types of numbers and of texts of a fixed length.
_KINDS = "biufU"
#: Where scikit-learn has its classes: the names of older versions, too.
_CLASSES = {
    "LogisticRegression": ("linear_model._logistic", "linear_model.logistic"),
    "LogisticRegressionCV": ("linear_model._logistic", "linear_model.logistic"),
    "OneVsRestClassifier": ("multiclass",),
    "MultiOutputClassifier": ("multioutput",),
    "Pipeline": ("pipeline",),
    "StandardScaler": ("preprocessing._data", "preprocessing.data"),
    "LabelBinarizer": ("preprocessing._label", "preprocessing.label"),
}
_DEEPEST = 20


class _Object(Standin):
    """An object of scikit-learn, by the name of its class."""

    name = ""


class _Array(Standin):
    """numpy's `_reconstruct`; its state is version, shape, type, order of columns, and values."""


class _Scalar(Standin):
    """numpy's `scalar` of a type and bytes."""


class _Wrapper(Standin):
    """joblib's stand-in for an array whose bytes follow."""


def _standins() -> dict[tuple[str, str], type[Standin]]:
    found: dict[tuple[str, str], type[Standin]] = {
        ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
        ("numpy", "ndarray"): Standin,
        ("numpy", "dtype"): Standin,
    }
    for module in MULTIARRAYS:
        found |= {(module, "_reconstruct"): _Array, (module, "scalar"): _Scalar}
    for name, modules in _CLASSES.items():
        kind = type(name, (_Object,), {"name": name})
        found |= {(f"sklearn.{module}", name): kind for module in modules}
    return found


_STANDINS = _standins()
_BUILD: Callable[[Any], None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python, since the one in C has no place for joblib's bytes."""

    stack: list[Any]
    dispatch: ClassVar[Any] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BufferedReader, path: Path) -> None:
        super().__init__(file)
        self._file, self._path = file, path

    def find_class(self, module: str, name: str) -> type[Standin]:
        standin = _STANDINS.get((module, name))
        if standin is None:
            msg = (
                f"{self._path} is a pickle that asks for {module}.{name}, and of a classifier "
                f"Lanner reads only {', '.join(_CLASSES)} of scikit-learn: train one of those, or "
                "save the classifier as model_head.onnx with skl2onnx"
            )
            raise UnsupportedError(msg)
        return standin

    def persistent_load(self, _pid: Any) -> Any:
        msg = f"{self._path} is a pickle with parts elsewhere: save it with joblib.dump"
        raise UnsupportedError(msg)

    def _build(self) -> None:
        _BUILD(self)
        if isinstance(self.stack[-1], _Wrapper):
            self.stack[-1] = self._bytes_of(self.stack[-1].state)

    dispatch[pickle.BUILD[0]] = _build

    def _bytes_of(self, state: dict[str, Any]) -> Any:
        kind = state["dtype"]
        if str(kind.arguments[0]).startswith("O"):
            return _Unpickler(self._file, self._path).load()
        if state.get("numpy_array_alignment_bytes") is not None:
            self._file.read(self._file.read(1)[0])  # what fills up to the alignment
        dtype, shape = _dtype(kind), tuple(map(int, state["shape"]))
        # Through a list of whole numbers, which do not overflow.
        size = dtype.itemsize
        for length in shape:
            size *= length
        raw = self._file.read(max(size, 0))
        return array_of(raw, dtype, shape, is_by_column=state["order"] == "F")


def read_pickled(path: Path) -> Estimator:
    """Return the classifier of a file that joblib wrote, uncompressed.

    Raises:
        CheckpointError: The file is damaged.
        UnsupportedError: It holds anything else than the classes that this module lists.
    """
    try:
        with path.open("rb") as file:
            found = _plain(_Unpickler(file, path).load())
    except (CheckpointError, UnsupportedError):
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        msg = f"{path} is not a whole file of joblib.dump, uncompressed: {reason(error)}"
        raise CheckpointError(msg) from error
    if not isinstance(found, Estimator):
        msg = f"{path} holds no classifier, but {type(found).__name__}: save it again"
        raise CheckpointError(msg)
    return found


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value with estimators, arrays and numbers for their stand-ins."""
    if depth > _DEEPEST:
        msg = "it holds itself"
        raise ValueError(msg)
    if isinstance(value, dict):
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return _meant(value, depth + 1) if isinstance(value, Standin) else value


def _meant(standin: Standin, depth: int) -> Any:
    """Return what a stand-in stands for."""
    if isinstance(standin, _Array):
        _, shape, kind, is_by_column, raw = standin.state
        if isinstance(raw, list):
            return _plain(raw, depth)
        return array_of(raw, _dtype(kind), shape, is_by_column=is_by_column)
    if isinstance(standin, _Scalar):
        kind, raw = standin.arguments
        return np.frombuffer(raw, _dtype(kind))[0].item()
    if not isinstance(standin, _Object):
        return None  # a type, which only settings name
    return Estimator(standin.name, _plain(standin.state or {}, depth))


def _dtype(standin: Any) -> np.dtype[Any]:
    kind = np.dtype(str(standin.arguments[0]))
    if kind.kind not in _KINDS:
        msg = f"it has an array of {kind}"
        raise ValueError(msg)
    return kind.newbyteorder(">" if standin.state and standin.state[1] == ">" else "=")
