"""The speed of the native engine beside ONNX Runtime's and CTranslate2's, each in its process."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import lanner
from lanner.artifact.artifact import Artifact
from lanner.engines.native.plan import Plan
from lanner.loading.load import open_tokenizer
from lanner_perf.peers.environments import Environment
from lanner_perf.peers.peers import ENVIRONMENTS, all_peers
from lanner_perf.subjects.lengths import LengthTexts
from lanner_perf.subjects.subject import Spec
from lanner_perf.subjects.workloads import Workloads, build_workloads
from lanner_perf.suites import concurrency, latency, throughput
from lanner_perf.suites.inputs import Inputs
from lanner_perf.suites.roster import Roster
from lanner_perf.suites.suite_plan import SuitePlan

NATIVE, INT8, FP32 = "native int8", "onnxruntime int8", "onnxruntime fp32"
CTRANSLATE2 = "CTranslate2 int8"
#: The numbers of callers at once, with as many threads as this.
CALLERS, CALLERS_THREADS = (1, 2, 4, 8, 16), 2
ROUNDS, LOADS = 3, 5
#: The variables that hold CTranslate2 to an instruction set, and its oneDNN, which multiplies int8.
HELD = ("CT2_FORCE_CPU_ISA", "ONEDNN_MAX_CPU_ISA")
#: Their names of our sets.
HELD_NAMES = {"avx2": ("AVX2", "AVX2"), "avx512_vnni": ("AVX512", "AVX512_CORE_VNNI")}


def inputs_of(artifact: Artifact, pairs_file: Path | None) -> Inputs:
    """Return the texts that are measured, short and mixed."""
    workloads = build_workloads(pairs_file).shortened(short=512, mixed=256)
    file = artifact.file(artifact.manifest.tokenizer.file)
    tokenizer = open_tokenizer(file, artifact.manifest)

    def count_tokens(texts: Any) -> int:
        return sum(map(len, tokenizer.encode(texts)))

    return Inputs(workloads, LengthTexts({}, {}), count_tokens)


def tokens_a_text(inputs: Inputs) -> dict[str, float]:
    """Return the mean number of tokens of a text by workload."""
    texts: Workloads = inputs.workloads
    return {name: inputs.count_tokens(some) / len(some) for name, some in texts.texts.items()}


def operations_a_token(plan: Plan) -> float:
    """Return the multiplications and additions of the layers' products with weights, by token."""
    products = [
        tensor.size
        for name, tensor in plan.tensors.items()
        if name.startswith("layer.") and name.endswith(".weight") and tensor.ndim == 2
    ]
    return 2.0 * sum(products) * plan.layers / plan.layer_groups


def limits_gops(program: Path | None) -> dict[str, float]:
    """Return the limit of a core by instruction set, as the C++ benchmark measures it."""
    if program is None:
        return {}
    said = subprocess.run([program, "limits"], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in said.splitlines())
    return {name: float(value) for name, value in pairs}


def load_s(artifact: Artifact) -> float:
    """Return the median seconds of loading the artifact in the native engine."""
    times = []
    for _ in range(LOADS):
        began = time.perf_counter()
        lanner.load(artifact.directory, variant="int8", engine="native").close()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def speeds(
    artifact: Artifact,
    inputs: Inputs,
    threads: int,
    *,
    checkpoint: str | None = None,
    instruction_set: str = "",
) -> dict[str, dict[str, float]]:
    """Return texts a second, short and mixed, and milliseconds of one short text, by subject.

    Args:
        artifact: The artifact.
        inputs: The texts.
        threads: Cores that each subject may use.
        checkpoint: The checkpoint of the artifact, for CTranslate2; None leaves it out.
        instruction_set: The set that the native engine and CTranslate2 are held to; ONNX Runtime
            cannot be held to any. Empty for the fastest that each has.
    """
    directory = str(artifact.directory)
    specs = [
        Spec(INT8, "lanner", directory, {"variant": "int8", "engine": "onnxruntime"}),
        Spec(FP32, "lanner", directory, {"variant": "fp32", "engine": "onnxruntime"}),
        native_spec(directory, instruction_set),
    ]
    with _holding(HELD_NAMES.get(instruction_set, ())):
        names = ("sentence-transformers", "light")
        if checkpoint and all(Environment(name, ENVIRONMENTS).is_made() for name in names):
            made = all_peers(checkpoint, names=["ctranslate2-int8"], threads=threads)
            specs += made.specs[1:]
        plan = replace(SuitePlan.quick(threads), rounds=ROUNDS)
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


@contextmanager
def _holding(names: Sequence[str]) -> Iterator[None]:
    """Set the variables of `HELD` for the subjects that start meanwhile."""
    before = {name: os.environ.get(name) for name in HELD}
    os.environ.update(zip(HELD, names, strict=False))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def native_spec(directory: str, instruction_set: str) -> Spec:
    """Return the native engine as a subject."""
    options = {"variant": "int8", "engine": "native"}
    if instruction_set:
        options["instruction_set"] = instruction_set
    return Spec(NATIVE, "lanner", directory, options)


def callers(artifact: Artifact, inputs: Inputs, instruction_set: str = "") -> dict[str, Any]:
    """Return texts a second and latencies of the native engine, by the number of callers."""
    spec = native_spec(str(artifact.directory), instruction_set)
    plan = replace(SuitePlan.quick(CALLERS_THREADS), callers=CALLERS, point_s=1.0, point_rounds=3)
    with Roster([spec], CALLERS_THREADS, lambda _: None) as roster:
        found: dict[str, Any] = concurrency.measure(roster, inputs, plan)[NATIVE]["concurrency"]
    kept = ("texts_per_s", "p50_ms", "p99_ms")
    points = {
        count: {name: round(float(point[name]), 3) for name in kept}
        for count, point in found.items()
    }
    return {"threads": CALLERS_THREADS, "points": points}
