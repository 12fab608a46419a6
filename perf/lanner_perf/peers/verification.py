"""Checks that a peer's vectors agree with those of the checkpoint in its own framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lanner.files.staging import staged_file
from lanner.machine.machine import package_versions
from lanner.vectors.similarity import similarity_pairwise
from lanner_perf.kinds import PACKAGES
from lanner_perf.peers.peer_models import Made, MadePeer, Place
from lanner_perf.subjects.subject import Spec, Subject, SubjectError

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors

_FILE = "verified.json"


def verified(
    made: Made,
    place: Place,
    texts: Sequence[str],
    threads: int,
    progress: Callable[[str], object],
) -> Made:
    """Leave out peers that cannot start, or whose vectors differ from the first subject's.

    A peer that was verified with the same files, versions and texts is not started again.

    Args:
        made: The peers that could be made.
        place: The directories; verdicts are kept with the model files.
        texts: The texts to answer.
        threads: The threads of each peer.
        progress: Called when a step begins.

    Raises:
        SubjectError: The reference cannot start.
    """
    reference, *others = made.subjects
    file = place.work / _FILE
    cosines = _read(file)
    keys = [_key(subject, place, texts) for subject in others]
    expected = None
    subjects, left_out = [reference], list(made.left_out)
    for subject, key in zip(others, keys, strict=True):
        name, reason = subject.spec.name, ""
        if key not in cosines:
            progress(f"verifying {name}")
            if expected is None:
                expected = _answer(reference.spec, texts, threads)
            try:
                cosines[key] = _least_cosine(_answer(subject.spec, texts, threads), expected)
            except SubjectError as error:
                reason = str(error)
            else:
                _write(file, cosines)
        reason = reason or too_far(cosines[key], subject.peer.least_cosine)
        if reason:
            left_out.append({"name": name, "reason": reason})
        else:
            subjects.append(subject)
    return Made(subjects, left_out)


def too_far(cosine: float, least: float | None) -> str:
    """Return the reason if an answer differs from the checkpoint's; empty if it may stand."""
    if least is None or cosine >= least:
        return ""
    return f"its vectors are not the checkpoint's: cosine {cosine:.5f} for a shipped sentence"


def _answer(spec: Spec, texts: Sequence[str], threads: int) -> Vectors:
    with Subject(spec, threads) as subject:
        return np.asarray(subject.encode(list(texts))[1], np.float32)


def _least_cosine(vectors: Vectors, expected: Vectors) -> float:
    if vectors.shape != expected.shape:
        msg = (
            f"its vectors have the shape {list(vectors.shape)}, the checkpoint's "
            f"{list(expected.shape)}"
        )
        raise SubjectError(msg)
    cosine = float(similarity_pairwise(vectors, expected).min())
    return cosine if np.isfinite(cosine) else -1.0


def _key(subject: MadePeer, place: Place, texts: Sequence[str]) -> str:
    """Return a digest of all that its answers depend on."""
    name = subject.peer.environment
    versions = place.environment(name).digest if name else package_versions(*PACKAGES)
    what = [asdict(subject.spec), place.digest, versions, list(texts)]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _read(file: Path) -> dict[str, float]:
    try:
        cosines: dict[str, float] = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return cosines


def _write(file: Path, cosines: dict[str, float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(file) as stream:
        stream.write(json.dumps(cosines, indent=2).encode())
