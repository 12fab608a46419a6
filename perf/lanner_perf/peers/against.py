"""The peers of `lanner bench` by their names, and the reference."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from lanner.artifact.artifact import Artifact
from lanner.errors import UsageError
from lanner.machine.machine import this_machine
from lanner_perf.peers.by_hand import BY_HAND, make_by_hand
from lanner_perf.peers.peers import all_peers, peers, quantization_for
from lanner_perf.record.schema import LeftOut
from lanner_perf.subjects.subject import Spec

ALL, NONE = ("all",), ("none",)
#: The peers of a quick run: the reference, and of each kind usually the fastest.
QUICK = (
    "torch",
    "onnx-qint8",
    "openvino",
    "openvino-qint8",
    "fastembed-qint8",
    "ctranslate2-int8",
    "infinity-onnx-qint8",
)
Progress = Callable[[str], object]


class Peers(NamedTuple):
    """The subjects to measure, the reference first, and those that could not be made."""

    specs: list[Spec]
    left_out: list[LeftOut]


def check_names(names: Sequence[str]) -> None:
    """Check that every name is that of a peer.

    Raises:
        UsageError: A name is unknown.
    """
    known = [*peers(quantization_for(this_machine().cpu_flags)), *BY_HAND]
    if tuple(names) not in {ALL, NONE} and (unknown := [n for n in names if n not in known]):
        msg = (
            f"--against {','.join(unknown)}: there is no such peer: use all, none, or a "
            f"comma-separated list of {', '.join(known)}"
        )
        raise UsageError(msg)


def make(
    names: Sequence[str],
    artifact: Artifact,
    checkpoint: str,
    work: Path,
    *,
    calibration: Sequence[str] | None,
    threads: int,
    progress: Progress,
) -> Peers:
    """Make the reference, the named peers in their environments, and the hand-made graphs.

    Args:
        names: Names that `check_names` accepts, or `ALL`.
        artifact: An artifact of the same checkpoint.
        checkpoint: The checkpoint that all peers run.
        work: A directory for files that are needed during the measurement.
        calibration: Texts for the ranges of OpenVINO's int8; None for the sentences Lanner ships.
        threads: The threads for checking their answers.
        progress: Called when a step begins.
    """
    is_all = tuple(names) == ALL
    chosen = None if is_all else [name for name in names if name not in BY_HAND]
    made = all_peers(
        checkpoint, names=chosen, calibration=calibration, threads=threads, progress=progress
    )
    by_hand = [name for name in BY_HAND if is_all or name in names]
    specs, left_out = make_by_hand(by_hand, artifact, checkpoint, work, progress)
    return Peers(made.specs + specs, cast("list[LeftOut]", made.left_out) + left_out)
