"""The import path that every generated repository names, also those made before the move.

`lanner.triton.backend.python_backend` has the code.
"""

from lanner.triton.backend.python_backend import TextModel, TokenModel

__all__ = ["TextModel", "TokenModel"]
