"""Writing the model files of an artifact: a checkpoint's graph in each precision."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from lanner.artifact.manifest import HALF_PRECISIONS, TokenizerRecord, Variant
from lanner.errors import InputError, UnsupportedError
from lanner.running.runner import Sequences, feed
from lanner.text.tokenization import Pair, Tokenizer
from lanner_export.checkpoint.checkpoint import Checkpoint
from lanner_export.graph.fusion import count_fused_ops, count_written_ops
from lanner_export.graph.lookup import LookupTable, write_lookup_graph
from lanner_export.graph.model_file import remove, weights_file
from lanner_export.graph.tensors import OPSET, TYPE_IDS
from lanner_export.graph.tracing import TokensGraph, write_fp32
from lanner_export.precision.half_precision import write_half
from lanner_export.precision.quantization import Product, products, write_int8, write_int8_dynamic
from lanner_export.precision.ranges import METHOD, Feed, Range, measure_ranges
from lanner_export.progress import Progress, silent
from lanner_export.texts.calibration import CalibrationTexts

#: The most tokens of a calibration text: all its activations are in memory at once, and more tokens
#: do not widen their ranges.
_MOST_TOKENS = 512


@dataclass(frozen=True)
class Int8:
    """A calibrated graph, from which int8 graphs are written.

    Attributes:
        source: The float32 ONNX file.
        products: The matrix products that may be quantized.
        ranges: The range of each of their activations.
    """

    source: Path
    products: list[Product]
    ranges: dict[str, Range]

    @classmethod
    def calibrated(cls, source: Path, feeds: Sequence[Feed], progress: Progress = silent) -> Self:
        """Measure the ranges of a float32 graph; see `ranges.measure_ranges`."""
        found = products(source)
        activations = list(dict.fromkeys(product.activation for product in found))
        return cls(source, found, measure_ranges(source, activations, feeds, progress))

    def write(self, target: Path, keep: Collection[str] = ()) -> None:
        """Write the int8 graph with the products of these names in float32."""
        write_int8(self.source, target, self.ranges, keep=keep)


#: Returns the names of int8 products to keep in float32, given the variants of the float32 graph
#: and of a trial of int8.
KeepInFloat32 = Callable[[Int8, Variant, Variant], Sequence[str]]


@dataclass(frozen=True)
class Recipe:
    """The recipe of variants.

    Attributes:
        precisions: Some of `lanner_export.PRECISIONS`.
        texts: The calibration texts of int8. Static vectors need none: each row has its own scale.
        without_passes: Names of `rewriting.PASSES` to leave out.
        keep: Chooses the int8 products that stay in float32; None to keep none.
        budget: The requested budget.
        stem: The beginning of the files' names.
    """

    precisions: Sequence[str]
    texts: CalibrationTexts
    without_passes: Collection[str] = ()
    keep: KeepInFloat32 | None = None
    budget: str = ""
    stem: str = "model"


def write_variants(
    loaded: Checkpoint,
    record: TokenizerRecord,
    recipe: Recipe,
    directory: Path,
    progress: Callable[[str], object],
) -> list[Variant]:
    """Write the variants of a checkpoint.

    Args:
        loaded: The checkpoint.
        record: The record of its tokenizer, whose file is in the directory already.
        recipe: The recipe.
        directory: The directory for the files.
        progress: Called when a step begins.

    Raises:
        ExportError: The graph could not be made.
        InputError: The calibration texts have no tokens.
        UnsupportedError: Static vectors do not have the precision.
    """
    if isinstance(loaded.graph, LookupTable):
        only_traced = [name for name in recipe.precisions if name not in ("fp32", "int8")]
        if only_traced:
            msg = (
                f"{loaded.source['checkpoint']} holds static vectors, which have no "
                f"{only_traced[0]}: use fp32, or int8, which is smaller still"
            )
            raise UnsupportedError(msg)
        return _lookups(loaded.graph, loaded.output, recipe, directory, progress)
    fp32 = directory / f"{recipe.stem}.fp32.onnx"
    progress("tracing the graph")
    unfit = loaded.graph.unfit_passes if isinstance(loaded.graph, TokensGraph) else ()
    passes = write_fp32(
        loaded.graph,
        loaded.inputs,
        loaded.output,
        fp32,
        without_passes=[*recipe.without_passes, *unfit],
    )
    variants = []
    for precision in dict.fromkeys(recipe.precisions):
        path = directory / f"{recipe.stem}.{precision}.onnx"
        details: dict[str, object] = {}
        if precision == "int8":
            details = _write_int8(fp32, path, loaded, record, recipe, progress)
        elif precision == "int8-dynamic":
            progress("quantizing int8-dynamic")
            write_int8_dynamic(fp32, path)
        elif precision in HALF_PRECISIONS:
            progress(f"rounding to {precision}")
            write_half(fp32, path, precision)
        variants.append(replace(_variant(precision, path), passes=passes, **details))  # type: ignore[arg-type]
    if "fp32" not in recipe.precisions:
        remove(fp32)
    return variants


def _write_int8(
    fp32: Path,
    path: Path,
    loaded: Checkpoint,
    record: TokenizerRecord,
    recipe: Recipe,
    progress: Callable[[str], object],
) -> dict[str, object]:
    texts = recipe.texts
    progress(f"calibrating int8 on {len(texts.texts)} texts")
    feeds = calibration_feeds(
        Tokenizer(path.parent / record.file, record),  # not kept: it may take 0.3 GB
        loaded.inputs,
        texts.inputs(loaded.head, takes_pairs=loaded.takes_pairs),
    )
    int8 = Int8.calibrated(fp32, feeds, progress)
    kept: list[str] = []
    if recipe.keep is not None:
        kept += recipe.keep(int8, _named("fp32", fp32), _named("int8", path))
    progress("quantizing int8")
    int8.write(path, kept)
    return {
        "calibration": {**texts.to_json(), "method": METHOD},
        "float32_products": kept,
        "products": len(int8.products),
        "budget": recipe.budget,
    }


def _lookups(
    table: LookupTable,
    output: str,
    recipe: Recipe,
    directory: Path,
    progress: Callable[[str], object],
) -> list[Variant]:
    variants = []
    for precision in dict.fromkeys(recipe.precisions):
        progress(f"writing the vectors in {precision}")
        path = directory / f"{recipe.stem}.{precision}.onnx"
        write_lookup_graph(path, table, precision, output)
        variants.append(_variant(precision, path))
    return variants


def _named(precision: str, path: Path) -> Variant:
    return Variant(
        name=precision,
        precision=precision,
        file=path.name,
        engine="onnxruntime",
        opset=OPSET,
        fused_ops={},
        weights_file=weights_file(path),
    )


def _variant(precision: str, path: Path) -> Variant:
    # On a CPU ONNX Runtime runs half precision differently from a GPU, or not at all.
    count = count_written_ops if precision in HALF_PRECISIONS else count_fused_ops
    return replace(_named(precision, path), fused_ops=count(path))


def calibration_feeds(
    tokenizer: Tokenizer, names: Collection[str], inputs: Sequence[str | Pair]
) -> list[Feed]:
    """Return the inputs of a graph for texts or pairs, one at a time.

    Raises:
        InputError: The inputs have no tokens.
    """
    has_types = TYPE_IDS in names
    encodings = tokenizer.encode_pairs(inputs, with_types=has_types)
    encodings = [encoding for encoding in encodings if encoding.ids]
    if not encodings:
        msg = "the tokenizer makes no token of any calibration text: give other texts"
        raise InputError(msg)
    found = Sequences.of(encodings, with_types=has_types)
    sequences = Sequences(
        [row[:_MOST_TOKENS] for row in found.items],
        None if found.type_ids is None else [row[:_MOST_TOKENS] for row in found.type_ids],
    )
    # One text per feed: padding would be measured as if it were text.
    return [feed([(sequences, [row])], pad_token_id=0) for row in range(len(encodings))]
