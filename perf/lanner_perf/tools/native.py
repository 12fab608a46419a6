"""Measure the native engine beside ONNX Runtime: time a token by instruction set, and quality.

    python -m lanner_perf.tools.native build/minilm.lanner --pairs pairs.csv

Both run the int8 variant on one thread, in interleaved rounds. It ends with 1 if a bound is missed.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

import lanner
from lanner.artifact.artifact import Artifact
from lanner.engines import Engine, open_engine
from lanner.engines.native.engine import NativeEngine, instruction_sets
from lanner.machine.machine import this_machine
from lanner_perf.subjects.workloads import build_workloads

SHAPES = ((1, 14), (32, 16), (8, 70))
ROUNDS = 30
NEIGHBOURS = 10
#: How many times as fast as ONNX Runtime short texts must be, by instruction set.
LEAST_SPEEDUP = {"amx_int8": 2.0, "avx512_vnni": 1.45, "avx_vnni": 1.45}
LEAST_COSINE, LEAST_NEIGHBOURS, MOST_LOST_SPEARMAN = 0.9985, 0.96, 0.08

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
    reference = vectors.pop("fp32")
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
        }
    return result


def missed(measured: Mapping[str, Any]) -> list[str]:
    """Return the bounds that the figures miss, as sentences."""
    short, found = measured["us_a_token"]["32x16"], []
    for name, least in LEAST_SPEEDUP.items():
        if name in short:
            speedup = short["onnxruntime"]["median"] / short[name]["median"]
            if speedup < least:
                found.append(f"{name} is {speedup:.2f} times as fast on short texts, not {least}")
    if scaled := measured["quality"].get("native int8, scales per token"):
        is_kept = (
            scaled["cosine_mean"] >= LEAST_COSINE
            and scaled["neighbours"] >= LEAST_NEIGHBOURS
            and scaled["lost_spearman"] <= MOST_LOST_SPEARMAN
        )
        found += [] if is_kept else [f"scales per token lose too much: {scaled}"]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the native engine beside ONNX Runtime.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score for quality")
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(arguments)
    artifact = Artifact.open(args.artifact)
    path = artifact.file(artifact.choose("int8").file)
    engines: dict[str, Engine] = {"onnxruntime": open_engine("onnxruntime", path, precision="int8")}
    for item in instruction_sets():
        if item.is_correct and item.name != "plain":
            engines[item.name] = NativeEngine(path, instruction_set=item.name)
    measured = {
        "machine": this_machine().to_json(),
        "us_a_token": {
            f"{texts}x{tokens}": us_a_token(engines, (texts, tokens), args.rounds)
            for texts, tokens in SHAPES
        },
        "quality": quality(artifact, args.pairs),
    }
    measured["missed"] = missed(measured)
    text = json.dumps(measured, indent=2)
    print(text)
    if args.output is not None:
        args.output.write_text(f"{text}\n", encoding="utf-8")
    return 1 if measured["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
