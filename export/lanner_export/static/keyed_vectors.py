"""Reading gensim's `KeyedVectors.save` without running code from the pickle.

gensim pickles its object, with a large table next to it as `.npy`. This module reads the pickle
into stand-ins that only record their arguments. It takes the list of words and the table's bytes
from them; no function of gensim or numpy is called.
"""

import pickle
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.errors import CheckpointError
from lanner_export.checkpoint.standins import MULTIARRAYS, Standin, array_of, reason

_FLOATS = ("f2", "f4", "f8")


class _KeyedVectors(Standin):
    pass


#: All names in a pickle of KeyedVectors.
_STANDINS: dict[tuple[str, str], type[Standin]] = {
    ("gensim.models.keyedvectors", "KeyedVectors"): _KeyedVectors,
    **{(module, "_reconstruct"): Standin for module in MULTIARRAYS},
    ("numpy", "ndarray"): Standin,
    ("numpy", "dtype"): Standin,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BufferedIOBase, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module_name: str, global_name: str, /) -> type[Standin]:
        standin = _STANDINS.get((module_name, global_name))
        if standin is not None:
            return standin
        if module_name.startswith("gensim."):
            msg = (
                f"{self._path} holds gensim's {global_name}, and Lanner reads only its "
                "KeyedVectors: save it with gensim.models.fasttext.save_facebook_model, or the "
                "vectors of whole words with model.wv.save_word2vec_format, and export that file"
            )
        else:
            msg = (
                f"{self._path} is a pickle that asks for {module_name}.{global_name}, and Lanner "
                "runs no code from checkpoints: save its vectors with save_word2vec_format"
            )
        raise CheckpointError(msg)


def read_keyed_vectors(file: BufferedIOBase, path: Path) -> tuple[list[str], NDArray[Any]]:
    """Return the words and their vectors, floats [words, dimension]; an `.npy` is mapped.

    Args:
        file: The opened pickle.
        path: The path of the pickle, from which the name of the `.npy` derives.

    Raises:
        CheckpointError: The pickle is damaged, or is not KeyedVectors of words.
    """
    try:
        root = _Unpickler(file, path).load()
        state = root.state if isinstance(root, _KeyedVectors) else None
        words = list(state["index_to_key"]) if state else []
        if state and "vectors" in state.get("__numpys", ()):
            vectors = _mapped(path.with_name(path.name + ".vectors.npy"))
        else:
            vectors = _array(state["vectors"].state) if state else np.empty((0, 0), np.float32)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        msg = f"{path} is not a whole file of gensim's KeyedVectors.save: {reason(error)}"
        raise CheckpointError(msg) from error
    if not words or vectors.shape[:1] != (len(words),) or vectors.ndim != 2:
        msg = (
            f"{path} has {len(words)} words and a table of shape {vectors.shape}: "
            "save the vectors again with gensim 4 or later"
        )
        raise CheckpointError(msg)
    # gensim leaves empty places at the end, for words that its source had twice.
    while words and words[-1] is None:
        words.pop()
    vectors = np.asarray(vectors)[: len(words)]  # a plain view: rows of a memmap are slow to make
    if not all(isinstance(word, str) for word in words):
        msg = f"{path} has keys that are not words: Lanner looks texts up, word by word"
        raise CheckpointError(msg)
    return words, vectors


def _mapped(path: Path) -> NDArray[Any]:
    try:
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        msg = f"there is no {path}: gensim saved the vectors in it, so keep the two files together"
        raise CheckpointError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} is not a whole .npy file ({error}): copy it again"
        raise CheckpointError(msg) from error
    _require_floats(vectors.dtype.str[1:])
    return vectors


def _array(state: tuple[Any, ...]) -> NDArray[Any]:
    """Return the array that numpy pickled: version, shape, dtype, column order, bytes."""
    _, shape, dtype, is_by_column, raw = state
    kind = str(dtype.arguments[0])
    _require_floats(kind)
    order = dtype.state[1]
    return array_of(raw, np.dtype(kind).newbyteorder(order), shape, is_by_column=is_by_column)


def _require_floats(kind: str) -> None:
    if kind not in _FLOATS:
        msg = f"its table is of dtype {kind!r}, not of floats"
        raise ValueError(msg)
