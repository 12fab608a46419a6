"""The real Python bindings of CUDA: the installed ones, and the generation before.

`make test` installs the older generation into build/tensorrt.
"""

import functools
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.support.gpu.tensorrt_bindings import DIRECTORY

#: The generations of the bindings; the first is the one of this environment.
GENERATIONS = ("", "cuda12")

_DESCRIBE = """\
import json
import cuda.bindings
from cuda.bindings import runtime
errors = [name for name in dir(runtime.cudaError_t) if name.startswith("cuda")]
said = {name: getattr(runtime.cudaError_t, name).__doc__ or "" for name in errors}
print(json.dumps({
    "version": cuda.bindings.__version__,
    "signatures": {
        name: str(kind.__doc__).partition("\\n")[0] if callable(kind) else ""
        for name, kind in vars(runtime).items()
    },
    "lasting": [n for n, doc in said.items() if "relaunched" in doc],
    "stream": int(runtime.cudaStream_t(7)),
    "failed": [
        [len(answer), answer[0].name]
        for answer in (runtime.cudaMalloc(1), runtime.cudaGetDevice(), runtime.cudaFree(0))
    ],
    "text": runtime.cudaGetErrorString(runtime.cudaError_t.cudaErrorNoDevice)[1].decode(),
}))
"""


@functools.cache
def describe(generation: str) -> dict[str, Any]:
    """Describe the bindings from a process of its own, because a process holds one generation.

    Skips the test if they are not installed.

    Returns:
        The `version`; the `signatures` by name; the errors that are `lasting` until the process
            ends; the address of a `stream`; the number of values that `failed` calls return, and
            their reason; a `text`.
    """
    directory = DIRECTORY / generation
    if not (directory / "cuda").is_dir() and generation:
        pytest.skip(f"needs the bindings of CUDA in {directory}: make test installs them")
    given = [str(directory) if generation else "", os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, given))
    done = subprocess.run(
        [sys.executable, "-c", _DESCRIBE],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout))
