"""Measure the native engine beside ONNX Runtime and CTranslate2, and say which bounds it keeps.

    python -m lanner_perf.tools.native build/minilm.lanner --pairs pairs.csv --checkpoint CHECKPOINT

Time a token by instruction set (one thread, bare engines, interleaved rounds); texts a second and
the time of one short text from text to vector, with one thread and two, each subject in its own
process; many callers; loading; quality; and a digest of vectors that must be the same on every
machine. CTranslate2 takes part where `make peers` has installed it. It prints ``pass`` or ``FAIL``
for each bound, and ends with 1 if one is missed.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

import lanner
from lanner.artifact.artifact import Artifact
from lanner.engines import Engine, open_engine
from lanner.engines.native.engine import NativeEngine, instruction_sets
from lanner.engines.native.reading import read_plan
from lanner.files.texts import shipped_sentences
from lanner.machine.machine import this_machine
from lanner_perf.subjects.workloads import build_workloads
from lanner_perf.tools.native_bounds import bounds
from lanner_perf.tools.native_speeds import (
    callers,
    inputs_of,
    limits_gops,
    load_s,
    operations_a_token,
    speeds,
    tokens_a_text,
)

SHAPES = ((1, 14), (32, 16), (8, 70))
ROUNDS = 30
NEIGHBOURS = 10
DIGEST_TEXTS = 200

Vectors = NDArray[np.float32]


def us_a_token(
    engines: Mapping[str, Engine], shape: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """Return the lowest and the median time of a token by engine, in microseconds."""
    ids = np.random.default_rng(0).integers(5, 60, shape)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            began = time.perf_counter()
            engine.run(inputs)
            times[name].append((time.perf_counter() - began) * 1e6 / ids.size)
    return {
        name: {"lowest": round(min(found), 1), "median": round(float(np.median(found)), 1)}
        for name, found in times.items()
    }


def digest(artifact: Artifact) -> str:
    """Return the SHA-256 of the vectors of sentences that Lanner ships, alone and two together."""
    sentences = shipped_sentences()
    pairs = [f"{left} {right}" for left, right in pairwise(sentences)]
    texts = [*sentences, *pairs][:DIGEST_TEXTS]
    model: Any = lanner.load(artifact.directory, variant="int8", engine="native")
    vectors: Vectors = model.encode(texts)
    return hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()


def neighbours(vectors: Vectors) -> NDArray[np.int64]:
    """Return the nearest other texts of each text, int64 [texts, NEIGHBOURS]."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]


def quality(artifact: Artifact, pairs_file: Path | None) -> dict[str, dict[str, float]]:
    """Return cosines to fp32, kept neighbours and lost Spearman (x100) by engine and scales."""
    pairs = build_workloads(pairs_file).pairs
    if pairs is None:
        return {}
    texts = [*pairs.left, *pairs.right]
    vectors: dict[str, Vectors] = {}
    for name, variant, engine in (
        ("fp32", "fp32", "onnxruntime"),
        ("onnxruntime int8", "int8", "onnxruntime"),
        ("native int8", "int8", "native-static"),
        ("native int8, scales per token", "int8", "native"),
    ):
        model: Any = lanner.load(artifact.directory, variant=variant, engine=engine, threads=1)
        found = model.encode(texts)
        vectors[name] = found / np.linalg.norm(found, axis=1, keepdims=True)
    reference, onnxruntime = vectors.pop("fp32"), vectors["onnxruntime int8"]
    own = np.unique(texts, return_index=True)[1]
    kept = neighbours(reference[own])

    def spearman(found: Vectors) -> float:
        left, right = found[: len(pairs.left)], found[len(pairs.left) :]
        return float(spearmanr((left * right).sum(axis=1), pairs.scores)[0]) * 100

    result = {}
    for name, found in vectors.items():
        cosines = (found * reference).sum(axis=1)
        both = zip(neighbours(found[own]), kept, strict=True)
        shared = np.mean([len({*a} & {*b}) / NEIGHBOURS for a, b in both])
        result[name] = {
            "cosine_mean": round(float(cosines.mean()), 5),
            "cosine_min": round(float(cosines.min()), 5),
            "neighbours": round(float(shared), 4),
            "lost_spearman": round(spearman(reference) - spearman(found), 3),
            "cosine_min_to_onnxruntime": round(float((found * onnxruntime).sum(axis=1).min()), 5),
        }
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the native engine beside ONNX Runtime.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score for quality")
    parser.add_argument("--checkpoint", help="checkpoint of the artifact, for CTranslate2")
    parser.add_argument("--benchmark", type=Path, help="C++ benchmark, for the processor's limit")
    parser.add_argument("--instruction-set", default="", help="hold the native engine to this one")
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(arguments)
    artifact = Artifact.open(args.artifact)
    path = artifact.file(artifact.choose("int8").file)
    engines: dict[str, Engine] = {"onnxruntime": open_engine("onnxruntime", path, precision="int8")}
    for item in instruction_sets():
        if item.is_correct and item.name != "plain":
            engines[item.name] = NativeEngine(path, instruction_set=item.name)
    inputs, held = inputs_of(artifact, args.pairs), args.instruction_set
    measured = {
        "machine": this_machine().to_json(),
        "us_a_token": {
            f"{texts}x{tokens}": us_a_token(engines, (texts, tokens), args.rounds)
            for texts, tokens in SHAPES
        },
        "limit_gops": limits_gops(args.benchmark),
        "operations_a_token": operations_a_token(read_plan(path)),
        "tokens_a_text": tokens_a_text(inputs),
        "speeds": {
            str(threads): speeds(
                artifact, inputs, threads, checkpoint=args.checkpoint, instruction_set=held
            )
            for threads in (1, 2)
        },
        "callers": callers(artifact, inputs, held),
        "load_s": round(load_s(artifact), 4),
        "quality": quality(artifact, args.pairs),
        "digest": {
            "instruction_set": held or next(name for name in engines if name != "onnxruntime"),
            "model": hashlib.sha256(path.read_bytes()).hexdigest(),
            "vectors": digest(artifact),
        },
    }
    judged = bounds(measured)
    measured["bounds"] = [bound.to_json() for bound in judged]
    text = json.dumps(measured, indent=2)
    print(text)
    if args.output is not None:
        args.output.write_text(f"{text}\n", encoding="utf-8")
    for bound in judged:
        sys.stderr.write(f"{bound}\n")
    return 0 if all(bound.is_kept for bound in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
