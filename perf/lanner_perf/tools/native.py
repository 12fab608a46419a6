"""Measure the native engine beside ONNX Runtime and CTranslate2, and say which bounds it misses.

    python -m lanner_perf.tools.native build/minilm.lanner --pairs pairs.csv --checkpoint CHECKPOINT

Time a token by instruction set (one thread, bare engines, interleaved rounds); texts a second and
the time of one short text from text to vector, with one thread and two, each subject in its own
process; quality; and a digest of vectors that must be the same on every machine. CTranslate2 takes
part where `make peers` has installed it. It ends with 1 if a bound is missed.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
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
from lanner.files.texts import shipped_sentences
from lanner.loading.load import open_tokenizer
from lanner.machine.machine import this_machine
from lanner_perf.peers.environments import Environment
from lanner_perf.peers.peers import ENVIRONMENTS, all_peers
from lanner_perf.subjects.lengths import LengthTexts
from lanner_perf.subjects.subject import Spec
from lanner_perf.subjects.workloads import build_workloads
from lanner_perf.suites import latency, throughput
from lanner_perf.suites.inputs import Inputs
from lanner_perf.suites.roster import Roster
from lanner_perf.suites.suite_plan import SuitePlan

SHAPES = ((1, 14), (32, 16), (8, 70))
ROUNDS, SPEED_ROUNDS = 30, 3
NEIGHBOURS = 10
#: How many times as fast as ONNX Runtime short texts must be, by instruction set.
LEAST_SPEEDUP = {"amx_int8": 2.0, "avx512_vnni": 1.45, "avx_vnni": 1.45}
NATIVE, INT8, FP32 = "native int8", "onnxruntime int8", "onnxruntime fp32"
CTRANSLATE2 = "CTranslate2 int8"
#: Texts a second of the native engine in multiples of others', at least, and the time of one short
#: text, at most, on a processor with AVX2 alone and on one with better instructions.
LEAST_RATES = {"avx2": {CTRANSLATE2: 1.5, FP32: 2.0}, "": {CTRANSLATE2: 1.9, INT8: 1.4}}
MOST_OF_ONE_TEXT = {"avx2": 0.7, "": 0.6}
DIGEST_TEXTS = 200
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


def speeds(
    artifact: Artifact, checkpoint: str | None, pairs_file: Path | None, threads: int
) -> dict[str, dict[str, float]]:
    """Return texts a second, short and mixed, and milliseconds of one short text, by subject."""
    directory = str(artifact.directory)
    specs = [
        Spec(name, "lanner", directory, {"variant": variant, "engine": engine})
        for name, variant, engine in (
            (INT8, "int8", "onnxruntime"),
            (FP32, "fp32", "onnxruntime"),
            (NATIVE, "int8", "native"),
        )
    ]
    names = ("sentence-transformers", "light")
    if checkpoint and all(Environment(name, ENVIRONMENTS).is_made() for name in names):
        specs += all_peers(checkpoint, names=["ctranslate2-int8"], threads=threads).specs[1:]
    workloads = build_workloads(pairs_file).shortened(short=512, mixed=256)
    file = artifact.file(artifact.manifest.tokenizer.file)
    tokenizer = open_tokenizer(file, artifact.manifest)
    inputs = Inputs(
        workloads, LengthTexts({}, {}), lambda texts: sum(map(len, tokenizer.encode(texts)))
    )
    plan = replace(SuitePlan.quick(threads), rounds=SPEED_ROUNDS)
    with Roster(specs, threads, lambda _: None) as roster:
        rates = throughput.measure(roster, inputs, plan)
        times = latency.measure(roster, inputs, plan)
    return {
        name: {
            **{
                f"{text}_texts_per_s": round(found["texts_per_s"], 1)
                for text, found in rates[name]["throughput"].items()
            },
            "one_text_ms": round(times[name]["latency_ms"]["p50"], 3),
            "one_text_p99_ms": round(times[name]["latency_ms"]["p99"], 3),
        }
        for name in rates
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
    is_plain = measured["digest"]["instruction_set"] in ("avx2", "plain")
    for threads, by_name in measured["speeds"].items():
        found += _slower(by_name, f"threads={threads}", "avx2" if is_plain else "")
    if scaled := measured["quality"].get("native int8, scales per token"):
        is_kept = (
            scaled["cosine_mean"] >= LEAST_COSINE
            and scaled["neighbours"] >= LEAST_NEIGHBOURS
            and scaled["lost_spearman"] <= MOST_LOST_SPEARMAN
        )
        found += [] if is_kept else [f"scales per token lose too much: {scaled}"]
    return found


def _slower(by_name: Mapping[str, Mapping[str, float]], threads: str, kind: str) -> list[str]:
    native, found = by_name[NATIVE], []
    for other, least in LEAST_RATES[kind].items():
        for texts in ("short", "mixed") if other in by_name else ():
            key = f"{texts}_texts_per_s"
            speedup = native[key] / by_name[other][key]
            if speedup < least:
                found.append(f"{texts}, {threads}: {speedup:.2f} times {other}, not {least}")
    share = native["one_text_ms"] / by_name[INT8]["one_text_ms"]
    if share > (most := MOST_OF_ONE_TEXT[kind]):
        found.append(f"one text, {threads}: {share:.2f} of the time of {INT8}, not {most}")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the native engine beside ONNX Runtime.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score for quality")
    parser.add_argument("--checkpoint", help="checkpoint of the artifact, for CTranslate2")
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
        "speeds": {
            str(threads): speeds(artifact, args.checkpoint, args.pairs, threads)
            for threads in (1, 2)
        },
        "quality": quality(artifact, args.pairs),
        "digest": {
            "instruction_set": next(name for name in engines if name != "onnxruntime"),
            "model": hashlib.sha256(path.read_bytes()).hexdigest(),
            "vectors": digest(artifact),
        },
    }
    measured["missed"] = missed(measured)
    text = json.dumps(measured, indent=2)
    print(text)
    if args.output is not None:
        args.output.write_text(f"{text}\n", encoding="utf-8")
    return 1 if measured["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
