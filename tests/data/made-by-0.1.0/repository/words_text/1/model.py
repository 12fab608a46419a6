"""Serves the artifact in this directory; the server's Python needs lanner[onnxruntime]."""

from lanner.triton.python_backend import TextModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
