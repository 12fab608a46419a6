"""Matrix products by the libraries that inference uses, each in its fastest form.

This module runs in a process of its own, whose environment may lack Lanner. It imports only the
standard library and numpy until a library is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

#: Computes the product once more, into its own memory.
Multiply = Callable[[], Any]


class Library(NamedTuple):
    """The matrix multiplication of one library at one precision.

    Attributes:
        name: The name of its module.
        precision: The precision of both operands.
        prepare: Takes the activations of each worker [m, k], the weights [k, n], both of small
            whole numbers (activations not negative), and the threads of each product. Returns a
            function for each worker that computes the product; all share one packed copy of the
            weights.
    """

    name: str
    precision: str
    prepare: Callable[[list[Numbers], Numbers, int], list[Multiply]]


def _numpy(activations: list[Numbers], weights: Numbers, threads: int) -> list[Multiply]:
    # numpy's BLAS reads its number of threads from the environment when it is loaded.
    del threads
    held = weights.astype(np.float32)
    return [_bind(np.matmul, each.astype(np.float32), held) for each in activations]


def _torch_float(dtype: str) -> Callable[[list[Numbers], Numbers, int], list[Multiply]]:
    def prepare(activations: list[Numbers], weights: Numbers, threads: int) -> list[Multiply]:
        import torch  # noqa: PLC0415

        _require_bf16(dtype != "bfloat16" or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        torch.set_num_threads(threads)
        of = {"dtype": getattr(torch, dtype)}
        # torch.compile uses this product: oneDNN's, with the weights in the layout that it prefers.
        rows = torch.from_numpy(np.ascontiguousarray(weights.T)).to(**of)
        packed = torch.ops.mkldnn._reorder_linear_weight(rows, len(activations[0]))
        multiply = torch.ops.mkldnn._linear_pointwise
        return [
            _bind(multiply, torch.from_numpy(each).to(**of), packed, None, "none", [], "")
            for each in activations
        ]

    return prepare


def _torch_int8(activations: list[Numbers], weights: Numbers, threads: int) -> list[Multiply]:
    import torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    held = torch.from_numpy(weights.astype(np.int8))
    return [_bind(torch._int_mm, torch.from_numpy(e.astype(np.int8)), held) for e in activations]


def _onnxruntime(
    operator: str, kinds: tuple[type, type, type]
) -> Callable[[list[Numbers], Numbers, int], list[Multiply]]:
    def prepare(activations: list[Numbers], weights: Numbers, threads: int) -> list[Multiply]:
        import onnxruntime as ort  # noqa: PLC0415
        from onnx import helper, numpy_helper  # noqa: PLC0415

        taken, given = (helper.np_dtype_to_tensor_dtype(np.dtype(kinds[i])) for i in (0, 2))
        rows, columns = len(activations[0]), weights.shape[1]
        graph = helper.make_graph(
            [helper.make_node(operator, ["a", "b"], ["y"])],
            operator,
            [helper.make_tensor_value_info("a", taken, [rows, len(weights)])],
            [helper.make_tensor_value_info("y", given, [rows, columns])],
            [numpy_helper.from_array(weights.astype(kinds[1]), "b")],
        )
        opset = helper.make_opsetid("", 21)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
        settings = ort.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
        session = ort.InferenceSession(
            model.SerializeToString(), settings, ["CPUExecutionProvider"]
        )
        return [_bind(session.run, None, {"a": each.astype(kinds[0])}) for each in activations]

    return prepare


def _openvino(precision: str) -> Callable[[list[Numbers], Numbers, int], list[Multiply]]:
    def prepare(activations: list[Numbers], weights: Numbers, threads: int) -> list[Multiply]:
        import openvino as ov  # noqa: PLC0415
        from openvino import opset13 as op  # noqa: PLC0415

        core = ov.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        _require_bf16(precision != "bf16" or "BF16" in able)
        taken = op.parameter([len(activations[0]), len(weights)], ov.Type.f32)
        first, second = taken, op.constant(weights.T.astype(np.float32))
        if precision == "int8":
            # OpenVINO's passes recognize this form as a product of u8 by s8.
            low, high = op.constant(np.float32(0)), op.constant(np.float32(255))
            first = op.fake_quantize(taken, low, high, low, high, 256)
            second = op.convert(op.constant(weights.T.astype(np.int8)), "f32")
            scales = np.ones((weights.shape[1], 1), np.float32)
            second = op.multiply(second, op.constant(scales))
        workers = len(activations)
        compiled = core.compile_model(
            ov.Model([op.matmul(first, second, False, True)], [taken]),
            "CPU",
            {
                "NUM_STREAMS": workers,
                "INFERENCE_NUM_THREADS": workers * threads,
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
                "ENABLE_CPU_PINNING": False,
            },
        )
        return [_openvino_request(compiled, each.astype(np.float32), ov) for each in activations]

    return prepare


def _openvino_request(compiled: Any, activations: NDArray[np.float32], ov: Any) -> Multiply:
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(activations))
    return lambda: request.infer(share_outputs=True)[0]


def _bind(call: Callable[..., Any], *arguments: Any) -> Multiply:
    return lambda: call(*arguments)


def _require_bf16(is_there: bool) -> None:
    # Without the instructions, a library emulates bfloat16 or silently uses another precision.
    if not is_there:
        msg = "this CPU does not multiply bfloat16"
        raise NotImplementedError(msg)


#: The libraries whose best figure is a machine's peak, by precision.
LIBRARIES = (
    Library("numpy", "fp32", _numpy),
    Library("torch", "fp32", _torch_float("float32")),
    Library("onnxruntime", "fp32", _onnxruntime("MatMul", (np.float32, np.float32, np.float32))),
    Library("openvino", "fp32", _openvino("fp32")),
    Library("torch", "bf16", _torch_float("bfloat16")),
    Library("openvino", "bf16", _openvino("bf16")),
    Library("torch", "int8", _torch_int8),
    Library("onnxruntime", "int8", _onnxruntime("MatMulInteger", (np.uint8, np.int8, np.int32))),
    Library("openvino", "int8", _openvino("int8")),
)
