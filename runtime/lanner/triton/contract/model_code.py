"""The `model.py` of a model that Lanner makes: a fixed text without any content of an artifact.

The server runs this file. This module knows every form of it that Lanner has ever written, and
`lanner repository --check` compares the file with them.
"""

import re

MODEL_FILE = "model.py"
#: The Python backend starts the process of a model through a shell, with the path of its model.py
#: in the command. Any other name ends the command, or runs another, and the server then waits for
#: ever (seen with 2.51).
_STARTABLE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", re.ASCII)

#: Engine -> the extra that the server's Python needs; a model on "triton" calls another model.
_EXTRAS = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt", "triton": "triton"}
_CODE = '''\
"""Serves the artifact in this directory; the server's Python needs lanner[{extra}]."""

from lanner.triton.python_backend import {kind} as TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def model_code(engine: str, *, takes_texts: bool) -> str:
    """Return the code of a model.

    Args:
        engine: One of `lanner.artifact.fields.ENGINES`, or ``"triton"``.
        takes_texts: True for a text model.
    """
    kind = "TextModel" if takes_texts else "TokenModel"
    return _CODE.format(extra=_EXTRAS[engine], kind=kind)


def is_model_code(content: bytes, *, takes_texts: bool) -> bool:
    """Return whether Lanner wrote this `model.py`, for a model of that kind."""
    return content in {model_code(engine, takes_texts=takes_texts).encode() for engine in _EXTRAS}


def is_startable(name: str) -> bool:
    """Return whether the Python backend can start a model of this name."""
    return _STARTABLE.fullmatch(name) is not None
