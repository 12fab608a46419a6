"""Serves the artifact in this directory; the server's Python needs lanner[onnxruntime]."""

from lanner.triton.python_backend import TokenModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
