"""int8 graphs that are usually made by hand, run in the place of Lanner's graph.

They run with Lanner's tokenizer, batches and threads, and with ONNX Runtime's default settings.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from lanner.artifact.artifact import Artifact
from lanner_perf.peers.stock import make_stock
from lanner_perf.record.schema import LeftOut
from lanner_perf.subjects.subject import Spec, SubjectError

STOCK, FUSED = "stock quantize_dynamic", "dynamic int8, QAttention"
#: The titles of the graphs, by their names on the command line.
BY_HAND = {"quantize-dynamic": STOCK, "qattention": FUSED}


def make_by_hand(
    names: Sequence[str],
    artifact: Artifact,
    checkpoint: str,
    work: Path,
    progress: Callable[[str], object],
) -> tuple[list[Spec], list[LeftOut]]:
    """Make the graphs.

    Args:
        names: Some of `BY_HAND`.
        artifact: The artifact with the tokenizer, and with the graph that gets fused attention.
        checkpoint: The checkpoint for the stock tools.
        work: A directory for the files, which must stay during the measurement.
        progress: Called when a step begins.

    Returns:
        The specs, and the graphs that could not be made.
    """
    specs: list[Spec] = []
    left_out: list[LeftOut] = []
    for name in names:
        title, file = BY_HAND[name], work / f"{name}.onnx"
        progress(f"making {title}")
        try:
            if title == STOCK:
                make_stock(checkpoint, file)
            else:
                _make_fused(artifact, file)
        except SubjectError as error:
            left_out.append({"name": title, "reason": str(error)})
        else:
            options = {"artifact": str(artifact.directory), "precision": "int8 dynamic"}
            specs.append(Spec(title, "onnx-file", str(file), options, is_optional=True))
    return specs, left_out


def _make_fused(artifact: Artifact, file: Path) -> None:
    fp32 = artifact.manifest.variant("fp32")
    if fp32 is None:
        msg = "the artifact has no fp32 variant"
        raise SubjectError(msg)
    try:
        from lanner_perf.peers.fused import make_fused  # noqa: PLC0415 (an extra)
    except ImportError as error:
        msg = f"it needs the package {error.name!r}: pip install 'lanner[export]'"
        raise SubjectError(msg) from None
    make_fused(artifact.file(fp32.file), file)
