import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gpu.host_tensorrt import BUILD
from tests.support.gpu.tensorrt_bindings import GENERATIONS, require_bindings, run

from lanner.engines import open_engine
from lanner.engines.tensorrt import library as tensorrt_library
from lanner.engines.tensorrt.library import tensorrt
from lanner.errors import EngineError, MissingExtraError
from lanner.machine.gpu import this_gpu


@pytest.fixture(autouse=True)
def _imported_anew() -> Iterator[None]:
    tensorrt_library.tensorrt.cache_clear()
    yield
    tensorrt_library.tensorrt.cache_clear()


def hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "_MODULES", ("tensorrt_of_nobody",))


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    message = (
        r"^the tensorrt engine needs the package 'tensorrt', which is not installed: "
        r"pip install 'lanner\[tensorrt\]'$"
    )
    with pytest.raises(MissingExtraError, match=message):
        tensorrt()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_package_without_its_libraries(
    generation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a process of its own: one that failed to import leaves its parts behind.
    code = "from lanner.engines.tensorrt.library import tensorrt; tensorrt()"
    monkeypatch.syspath_prepend(str(require_bindings(generation)))
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "lanner.errors.EngineError: TensorRT's Python package is installed, but its libraries "
        f"cannot be loaded (libnv{'infer' if generation == '10' else 'onnxparser'}.so."
        f"{generation}: "
        "cannot open shared object file: No such file or directory): pip install "
        "'lanner[tensorrt]', or add the directory of libnvinfer to LD_LIBRARY_PATH"
    )


def test_an_old_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt_of_old.py").write_text('__version__ = "10.7.0"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tensorrt_library, "_MODULES", ("tensorrt_of_old",))
    message = (
        r"^TensorRT 10.7.0 is too old for Lanner, which needs 10.13: pip install --upgrade "
        r"'lanner\[tensorrt\]'$"
    )
    with pytest.raises(EngineError, match=message):
        tensorrt()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_its_log_keeps_the_last_error_until_it_is_asked_for_anew(generation: str) -> None:
    """TensorRT's own classes, as they are called from C++."""
    code = f"""
sys.path[:0] = {sys.path!r}
import logging
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(message)s")
from lanner.engines.tensorrt.library import open_log
log = open_log()
assert isinstance(log, trt.ILogger)
log.log(trt.ILogger.ERROR, "one")
log.log(trt.ILogger.WARNING, "two")
log.log(trt.ILogger.INFO, "three")
print(log.last_error)
print(*log.recent)
print(open_log() is log, repr(log.last_error))
"""
    assert run(generation, code).splitlines() == [
        "DEBUG TensorRT: one",
        "DEBUG TensorRT: two",
        "one",
        "one two",
        "True ''",
    ]


@pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")
def test_without_a_gpu_nothing_else_is_asked_for(tmp_path: Path) -> None:
    message = r"^the tensorrt engine needs an NVIDIA GPU, but this machine has no NVIDIA driver \("
    with pytest.raises(EngineError, match=message):
        open_engine("tensorrt", tmp_path / "none.plan", build=BUILD)
