"""Whom `lanner bench` measures against: the reference, and peers by their names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lanner.errors import UsageError
from lanner.machine import this_machine
from lanner.text_files import shipped_sentences
from lanner_perf.bench_checks import TORCH
from lanner_perf.layout import LeftOut
from lanner_perf.peers import FRAMEWORK, make_peers, peers, quantization_for
from lanner_perf.subjects import Spec

ALL, NONE = ("all",), ("none",)
PEERS_PYTHON = Path(".venv-peers/bin/python")
Progress = Callable[[str], object]


class Peers(NamedTuple):
    """What is measured, the reference first, and what could not be made."""

    specs: list[Spec]
    left_out: list[LeftOut]


def peer_names() -> list[str]:
    """Every name that ``--against`` knows."""
    return [f"{FRAMEWORK} {peer.name}" for peer in peers(_quantization())]


def check_names(names: Sequence[str]) -> None:
    """Refuses what is no peer.

    Raises:
        UsageError: One of them is unknown.
    """
    known = peer_names()
    if tuple(names) not in {ALL, NONE} and (unknown := [n for n in names if n not in known]):
        msg = (
            f"--against {','.join(unknown)}: there is no such peer, use all, none, or a "
            f"comma-separated list of {', '.join(known)}"
        )
        raise UsageError(msg)


def make(names: Sequence[str], checkpoint: str, directory: Path, progress: Progress) -> Peers:
    """The reference, and the peers of these names with their model files.

    Args:
        names: Of `peer_names`, or `ALL`.
        checkpoint: What all of them run.
        directory: Where their files go; it is there.
        progress: Told when a step begins.
    """
    progress("making the models of the peers")
    reasons = make_peers(
        checkpoint,
        PEERS_PYTHON,
        directory,
        quantization=_quantization(),
        calibration=shipped_sentences(),
    )
    found, left_out = [Spec(TORCH, FRAMEWORK, checkpoint)], list[LeftOut]()
    for peer in peers(_quantization()):
        spec = peer.spec(directory, str(PEERS_PYTHON))
        if tuple(names) != ALL and spec.name not in names:
            continue
        if peer.file in reasons:
            left_out.append({"name": spec.name, "reason": reasons[peer.file]})
        else:
            found.append(spec)
    return Peers(found, left_out)


def _quantization() -> str:
    return quantization_for(this_machine().cpu_flags)
