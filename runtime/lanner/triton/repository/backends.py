"""The backends of Triton that Lanner writes repositories for."""

from lanner.triton.repository.backend import Backend
from lanner.triton.repository.onnxruntime import OnnxRuntimeBackend
from lanner.triton.repository.python import PythonBackend
from lanner.triton.repository.tensorrt import TensorRtBackend

PYTHON = PythonBackend()
_BACKENDS: tuple[Backend, ...] = (PYTHON, OnnxRuntimeBackend(), TensorRtBackend())
_BY_NAME = {backend.name: backend for backend in _BACKENDS}


def find_backend(name: str) -> Backend:
    """Return the backend of a name, one of `lanner.triton.repository.serving.BACKENDS`."""
    return _BY_NAME[name]
