"""A driver library that answers as NVIDIA's would, for machines without a GPU.

It is compiled from C. So the calls of `lanner.machine.gpu` go through the real interface: by name,
with pointers, in C's sizes.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = """
#include <string.h>
#include <stddef.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal + 7; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
  strncpy(name, device == 7 ? "NVIDIA H100 80GB HBM3" : "another", length); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)85899345920u; return 0; }
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 9 : attribute == 76 ? 0 : -1; return 0; }
"""


def write_driver(directory: Path, *, count: int = 1, init: int = 0) -> Path:
    """Compile a driver.

    Args:
        directory: The directory for the library.
        count: The number of GPUs that it finds.
        init: The CUresult of its start.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = directory / "driver.c", directory / "libcuda.so.1"
    source.write_text(_SOURCE)
    macros = [f"-DCOUNT={count}", f"-DINIT={init}"]
    command = [compiler, "-shared", "-fPIC", *macros, "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library
