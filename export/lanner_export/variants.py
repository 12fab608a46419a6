"""The model files of an artifact: a checkpoint's graph at each precision."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lanner.errors import InputError, UnsupportedError
from lanner.manifest import HALF_PRECISIONS, TokenizerRecord, Variant
from lanner.runner import Sequences, feed
from lanner.tokenization import Pair, Tokenizer
from lanner_export.calibration import CalibrationTexts
from lanner_export.checkpoint import Checkpoint
from lanner_export.fusion import count_fused_ops, count_written_ops
from lanner_export.graph import write_fp32
from lanner_export.half_precision import write_half
from lanner_export.lookup_graph import LookupTable, data_path, write_lookup_graph
from lanner_export.quantization import Feed, write_int8
from lanner_export.tensors import OPSET, TYPE_IDS


def write_variants(
    loaded: Checkpoint,
    record: TokenizerRecord,
    texts: CalibrationTexts,
    precisions: Sequence[str],
    directory: Path,
    progress: Callable[[str], object],
) -> list[Variant]:
    """Writes the variants of a checkpoint.

    Args:
        loaded: The checkpoint.
        record: How its tokenizer is used; its file is in the directory already.
        texts: What int8 is calibrated on. Static vectors need none: each row has its own scale.
        precisions: Which variants to make, of `lanner_export.PRECISIONS`.
        directory: Where the files go.
        progress: Called when a step begins.

    Raises:
        ExportError: The graph could not be made.
        UnsupportedError: Static vectors were asked for in half precision.
        InputError: The tokenizer makes nothing of the calibration texts.
    """
    halves = [name for name in dict.fromkeys(precisions) if name in HALF_PRECISIONS]
    if isinstance(loaded.graph, LookupTable):
        if halves:
            msg = (
                f"{loaded.source['checkpoint']} holds static vectors, which have no {halves[0]}: "
                "use fp32, or int8, which is smaller still"
            )
            raise UnsupportedError(msg)
        variants = []
        for precision in dict.fromkeys(precisions):
            progress(f"writing the vectors in {precision}")
            path = directory / f"model.{precision}.onnx"
            write_lookup_graph(path, loaded.graph, precision)
            variants.append(replace(_variant(precision, path), weights_file=data_path(path).name))
        return variants
    fp32 = directory / "model.fp32.onnx"
    progress("tracing the graph")
    write_fp32(loaded.graph, loaded.inputs, loaded.output, fp32)
    variants = []
    if "fp32" in precisions:
        variants.append(_variant("fp32", fp32))
    if "int8" in precisions:
        progress(f"calibrating int8 on {len(texts.texts)} texts")
        int8 = directory / "model.int8.onnx"
        tokenizer = Tokenizer(directory / record.file, record)
        write_int8(fp32, int8, _feeds(tokenizer, loaded, texts.inputs(loaded.head)))
        variants.append(replace(_variant("int8", int8), calibration=texts.to_json()))
    for precision in halves:
        progress(f"rounding to {precision}")
        path = directory / f"model.{precision}.onnx"
        write_half(fp32, path, precision)
        variants.append(_variant(precision, path))
    if "fp32" not in precisions:
        fp32.unlink()
    return variants


def _variant(precision: str, path: Path) -> Variant:
    return Variant(
        name=precision,
        precision=precision,
        file=path.name,
        engine="onnxruntime",
        opset=OPSET,
        # On a CPU ONNX Runtime runs such a graph otherwise than on a GPU, or not at all.
        fused_ops=(count_written_ops if precision in HALF_PRECISIONS else count_fused_ops)(path),
    )


def _feeds(tokenizer: Tokenizer, loaded: Checkpoint, inputs: Sequence[str | Pair]) -> list[Feed]:
    has_types = TYPE_IDS in loaded.inputs
    encodings = tokenizer.encode_pairs(inputs, with_types=has_types)
    encodings = [encoding for encoding in encodings if encoding.ids]
    if not encodings:
        msg = "the tokenizer makes no token of any calibration text: give other texts"
        raise InputError(msg)
    sequences = Sequences.of(encodings, with_types=has_types)
    # One text a feed: padding would be measured as if it were text.
    return [feed(sequences, [row], pad_token_id=0) for row in range(len(encodings))]
