import sys
from typing import Any

import numpy as np
import pytest

for package in ("torch", "onnxruntime", "onnx"):
    pytest.importorskip(package, reason="needs lanner-bench")

from lanner_perf.floor import matmul  # noqa: E402
from lanner_perf.floor.matmul import LIBRARIES, Library  # noqa: E402


def as_floats(product: Any) -> Any:
    product = product[0] if isinstance(product, list) else product
    return product.float().numpy() if hasattr(product, "float") else np.asarray(product, np.float32)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: f"{library[0]}-{library[1]}")
def test_every_worker_gets_its_product(library: Library) -> None:
    generator = np.random.default_rng(0)
    activations = [generator.integers(0, 8, (16, 24)) for _ in range(2)]
    weights = generator.integers(-4, 4, (24, 12))
    if library.name == "openvino":
        pytest.importorskip("openvino", reason="needs the openvino extra")
    try:
        calls = library.prepare(activations, weights, 1)
    except NotImplementedError as error:
        assert library.precision == "bf16"
        pytest.skip(str(error))
    assert len(calls) == 2
    # bfloat16 keeps eight bits of the sum.
    tolerance = 2**-8 if library.precision == "bf16" else 0
    for rows, call in zip(activations, calls, strict=True):
        for _ in range(2):
            np.testing.assert_allclose(as_floats(call()), rows @ weights, rtol=tolerance)


def test_bfloat16_is_not_emulated() -> None:
    with pytest.raises(NotImplementedError, match=r"^this CPU does not multiply bfloat16$"):
        matmul._require_bf16(False)
    matmul._require_bf16(True)


def test_importing_it_imports_no_library() -> None:
    import subprocess  # noqa: PLC0415

    code = (
        "import lanner_perf.floor.matmul, sys; print({'torch', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
