from pathlib import Path

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.errors import UnsupportedError

onnx = pytest.importorskip("onnx", reason="needs lanner-bench")
pytest.importorskip("onnxruntime", reason="needs lanner-bench")

from lanner_perf.floor.operations import Operations, count_operations  # noqa: E402


def write(path: Path, body: str, **constants: tuple[int, ...]) -> Path:
    """Write a graph of token ids, with zeros of these shapes; the type ``bytes`` is int8."""
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 23]> g (int64[b,n] input_ids) => (float y) {{{body}}}'
    )
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="y"))
    for name, shape in constants.items():
        array = np.zeros(shape, np.int8 if name == "bytes" else np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return path


def test_each_kind_of_product_by_hand(tmp_path: Path) -> None:
    path = write(
        tmp_path / "model.onnx",
        """
        x = Gather(table, input_ids)
        h = MatMul(x, wide)
        a = Attention<q_num_heads = 2, kv_num_heads = 2>(h, h, h)
        axis = Constant<value_ints = [1]>()
        p = ReduceMax<keepdims = 0>(a, axis)
        y = Gemm<transB = 1>(p, head)
        """,
        table=(10, 8),
        wide=(8, 12),
        head=(5, 12),
    )
    found = count_operations(path)
    assert found == Operations(
        flop_per_text=2 * 12 * 5,
        flop_per_token=2 * 8 * 12,
        flop_per_token_squared=2 * 12 + 2 * 12,  # queries times keys, and weights times values
        weights=8 * 12 + 5 * 12,
        matrices=((8, 12), (12, 5)),
    )
    # For texts of one and of three tokens: 120 + 192 + 48, and 120 + 3 x 192 + 9 x 48.
    assert found.flop([1, 3]) == 360 + 1128


def test_attention_as_its_parts_and_with_an_axis_of_heads(tmp_path: Path) -> None:
    heads = """
        x = Gather(table, input_ids)
        shape = Constant<value_ints = [0, 0, 2, 4]>()
        split = Reshape(x, shape)
        q = Transpose<perm = [0, 2, 1, 3]>(split)
        """
    as_one = write(tmp_path / "one.onnx", heads + "y = Attention(q, q, q)", table=(10, 8))
    as_parts = write(
        tmp_path / "parts.onnx",
        heads + "k = Transpose<perm = [0, 1, 3, 2]>(q) s = MatMul(q, k) y = MatMul(s, q)",
        table=(10, 8),
    )
    expected = Operations(0, 0, 2 * 8 + 2 * 8, 0, ())
    assert count_operations(as_one) == expected
    assert count_operations(as_parts) == expected


def test_a_product_on_the_left_and_a_transposed_first_operand(tmp_path: Path) -> None:
    path = write(
        tmp_path / "model.onnx",
        """
        x = Gather(table, input_ids)
        axis = Constant<value_ints = [1]>()
        p = ReduceMax<keepdims = 0>(x, axis)
        t = Transpose(p)
        y = Gemm<transA = 1>(t, head)
        """,
        table=(10, 8),
        head=(8, 5),
    )
    assert count_operations(path).flop_per_text == 2 * 8 * 5


def test_bytes_count_as_floats_do(tmp_path: Path) -> None:
    path = write(
        tmp_path / "model.onnx",
        """
        x = Gather(table, input_ids)
        q, scale, zero = DynamicQuantizeLinear(x)
        y = MatMulInteger(q, bytes, zero)
        """,
        table=(10, 8),
        bytes=(8, 6),
    )
    assert count_operations(path) == Operations(0, 2 * 8 * 6, 0, 48, ((8, 6),))


def test_a_matrix_of_several_layers_is_held_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "model.onnx",
        """
        x = Gather(table, input_ids)
        turned = Transpose(square)
        h = MatMul(x, turned)
        y = MatMul(h, turned)
        """,
        table=(10, 8),
        square=(8, 8),
    )
    assert count_operations(path) == Operations(0, 2 * 2 * 8 * 8, 0, 64, ((8, 8),))


def test_work_of_no_text_is_not_counted(tmp_path: Path) -> None:
    # A product of weights alone, which is folded away, and one of positions, which a batch shares.
    path = write(
        tmp_path / "model.onnx",
        """
        x = Gather(table, input_ids)
        folded = MatMul(square, square)
        h = MatMul(x, folded)
        shape = Shape<start = 1, end = 2>(input_ids)
        first = Constant<value_ints = [0]>()
        positions = Slice(table, first, shape)
        shared = MatMul(positions, square)
        y = Add(h, shared)
        """,
        table=(10, 8),
        square=(8, 8),
    )
    assert count_operations(path).flop_per_token == 2 * 8 * 8
    assert count_operations(path).flop_per_token_squared == 0


def test_an_operator_that_cannot_be_counted_is_named(tmp_path: Path) -> None:
    body = 'x = Gather(table, input_ids) y = Einsum<equation = "bnd,de->bne">(x, square)'
    path = write(tmp_path / "model.onnx", body, table=(10, 8), square=(8, 8))
    with pytest.raises(
        UnsupportedError,
        match=r"^the operations of .*model.onnx cannot be counted: it has the operator Einsum, and "
        r"only Attention, Gemm, MatMul, MatMulInteger, QLinearMatMul can be counted$",
    ):
        count_operations(path)


def test_operations_that_grow_faster_than_attention_are_refused(tmp_path: Path) -> None:
    body = """
        x = Gather(table, input_ids)
        t = Transpose<perm = [0, 2, 1]>(x)
        s = MatMul(x, t)
        y = MatMul(s, s)
        """
    path = write(tmp_path / "model.onnx", body, table=(10, 8))
    with pytest.raises(
        UnsupportedError,
        match=r"^the operations of .*model.onnx cannot be counted: their number is not a quadratic "
        r"polynomial of the text's length$",
    ):
        count_operations(path)


def test_the_tiny_artifact_by_hand(tiny_artifact: Artifact) -> None:
    # Two layers of width 32 and 64, and a Dense module from 32 to 12.
    layer = 4 * 32 * 32 + 2 * 32 * 64
    expected = Operations(
        flop_per_text=2 * 32 * 12,
        flop_per_token=2 * 2 * layer,
        flop_per_token_squared=2 * 2 * 2 * 32,
        weights=2 * layer + 32 * 12,
        matrices=((32, 32), (32, 64), (64, 32), (32, 12)),
    )
    for precision in ("fp32", "int8"):
        assert count_operations(tiny_artifact.file(f"model.{precision}.onnx")) == expected


@pytest.mark.slow
def test_the_real_checkpoint_as_torch_counts_it(
    minilm_checkpoint: Path, minilm_artifact: Artifact
) -> None:
    import torch  # noqa: PLC0415
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415
    from transformers import AutoModel  # noqa: PLC0415

    found = count_operations(minilm_artifact.file("model.fp32.onnx"))
    # Six layers of width 384 and 1,536: 10.6 million weights.
    assert found.weights == 6 * (4 * 384 * 384 + 2 * 384 * 1536) == 10_616_832
    assert found.flop_per_token == 2 * found.weights
    assert found.matrices == ((384, 1536), (1536, 384), (384, 384))
    assert count_operations(minilm_artifact.file("model.int8.onnx")) == found
    model = AutoModel.from_pretrained(
        minilm_checkpoint, attn_implementation="eager", add_pooling_layer=False
    )
    for texts, tokens in ((1, 16), (3, 100)):
        ids = torch.ones((texts, tokens), dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(input_ids=ids, attention_mask=ids)
        assert found.flop([tokens] * texts) == counter.get_total_flops()
