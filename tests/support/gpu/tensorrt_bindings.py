"""The real Python bindings of TensorRT, imported on a machine without its libraries.

`make test` installs two generations of them into build/tensorrt. They are linked to libnvinfer and
its parser, which are too large to install here. So the tests import a copy of the extension that
needs no library of TensorRT. The nine functions from those libraries are replaced by one function
that always returns 0. All that pybind11 registers is then present as on a GPU machine: every class,
method, signature and enumeration. Only calls into TensorRT fail: `Builder` says that its factory
returned nothing, as it also does without CUDA.
"""

import functools
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

DIRECTORY = Path(__file__).resolve().parents[3] / "build" / "tensorrt"
GENERATIONS = ("10", "11")
_EXTENSION = "tensorrt_bindings/tensorrt.so"
_FUNCTIONS = (
    b"createInferBuilder_INTERNAL",
    b"createInferRefitter_INTERNAL",
    b"createInferRuntime_INTERNAL",
    b"createNvOnnxParserRefitter_INTERNAL",
    b"createNvOnnxParser_INTERNAL",
    b"getBuilderPluginRegistry",
    b"getNvOnnxParserVersion",
    b"getPluginRegistry",
    b"initLibNvInferPlugins",
)
#: A function in every C library; it takes nothing and returns 0.
_ANSWERS_ZERO = b"sched_yield"
_LOAD, _DYNAMIC = 1, 2  # kinds of program headers
_END, _NEEDED, _STRINGS, _IGNORED = 0, 1, 5, 0x6FFFFEF0  # kinds of dynamic entries

_PRELUDE = """\
import os, sys
sys.setdlopenflags(os.RTLD_LAZY)
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
"""
_DESCRIBE = """\
import inspect, json
def members(kind):
    names = [name for name in dir(kind) if not name.startswith("__")]
    return {name: str(getattr(kind, name).__doc__ or "") for name in names}
kinds = {name: kind for name, kind in vars(trt).items() if inspect.isclass(kind)}
print(json.dumps({
    "version": trt.__version__,
    "names": sorted(vars(trt)),
    "kinds": {name: members(kind) for name, kind in kinds.items()},
    "enumerations": {
        name: list(kind.__members__) for name, kind in kinds.items() if hasattr(kind, "__members__")
    },
}))
"""


def require_bindings(generation: str) -> Path:
    """Return the directory of the installed bindings; skip the test without them."""
    directory = DIRECTORY / f"tensorrt{generation}"
    if not (directory / _EXTENSION).is_file():
        pytest.skip(f"needs the bindings of TensorRT {generation}: make test installs them")
    return directory


@functools.cache
def describe(generation: str) -> dict[str, Any]:
    """Return the bindings: `version`, `names`, `kinds` with members, `enumerations`."""
    return dict(json.loads(run(generation, _DESCRIBE)))


def run(generation: str, code: str, *arguments: str) -> str:
    """Run Python code with the bindings as `trt`, and return its output.

    It runs in a process of its own, because a process holds one generation.
    """
    installed = require_bindings(generation)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / generation
        shutil.copytree(installed, directory)
        _unlink(directory / _EXTENSION)
        return subprocess.run(
            [sys.executable, "-c", _PRELUDE + code, str(directory), *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def _unlink(path: Path) -> None:
    """Rewrite an ELF file (64 bits, little-endian) so that it needs no library of TensorRT."""
    content = bytearray(path.read_bytes())
    assert content[:6] == b"\x7fELF\x02\x01"
    (headers,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    segments = [
        struct.unpack_from("<IIQQQQ", content, headers + row * size)[:6] for row in range(count)
    ]
    _, _, start, _, _, length = next(s for s in segments if s[0] == _DYNAMIC)
    entries = [
        (place, *struct.unpack_from("<qQ", content, place))
        for place in range(start, start + length, 16)
    ]
    address = next(value for _, kind, value in entries if kind == _STRINGS)
    strings = next(
        address - memory + offset
        for kind, _, offset, memory, _, held in segments
        if kind == _LOAD and memory <= address < memory + held
    )
    for place, kind, value in entries:
        if kind == _END:
            break
        if kind == _NEEDED and content[strings + value :].startswith(b"libnv"):
            struct.pack_into("<q", content, place, _IGNORED)
    for name in _FUNCTIONS:
        found = content.index(b"\0" + name + b"\0", strings) + 1
        content[found : found + len(_ANSWERS_ZERO) + 1] = _ANSWERS_ZERO + b"\0"
    path.write_bytes(content)
