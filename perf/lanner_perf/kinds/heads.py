"""Subjects whose heads do not return vectors, and their inputs: pairs to score, texts to label.

These kinds run in the subject's process, in the harness's environment. Each answers one input or a
list of inputs; a pair is a tuple.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner_perf.kinds import PACKAGES, Encode, Load, Loaded
from lanner_perf.subjects.resident import resident_mb

if TYPE_CHECKING:
    from lanner.artifact.artifact import Artifact
    from lanner.artifact.heads import HeadRecord
    from lanner_perf.subjects.subject import Spec
    from lanner_perf.subjects.workloads import Workloads

_FIRST_TEXT = "How fast is the first answer?"
#: The option for the kind of input: a value of `lanner.artifact.heads.InputKind`, a class that the
#: environment of a peer may lack.
INPUTS = "inputs"


def first_input(inputs: str) -> Any:
    """Return the first input of a subject, by its option `INPUTS`."""
    return (_FIRST_TEXT, _FIRST_TEXT) if inputs == "pairs" else _FIRST_TEXT


def inputs_of(workloads: Workloads, head: HeadRecord) -> Workloads:
    """Return the workloads as the head takes them: texts, or pairs of each text with the next."""
    from dataclasses import replace  # noqa: PLC0415

    from lanner.artifact.heads import InputKind  # noqa: PLC0415 (not in a peer's environment)

    if head.answers_vectors:
        return workloads
    inputs: dict[str, list[Any]] = dict(workloads.texts)
    if head.inputs is InputKind.PAIRS:
        inputs = {
            name: list(zip(texts, texts[1:] + texts[:1], strict=True))
            for name, texts in workloads.texts.items()
        }
    return replace(workloads, texts=inputs, pairs=None)


def head_specs(artifact: Artifact, checkpoint: str) -> list[Spec]:
    """Return the specs: the checkpoint's own framework first, then each variant of the artifact."""
    from lanner.artifact.heads import InputKind  # noqa: PLC0415 (not in a peer's environment)
    from lanner_perf.subjects.subject import Spec  # noqa: PLC0415

    manifest = artifact.manifest
    head, limit = manifest.head_record, manifest.tokenizer.max_tokens
    takes_pairs = head.inputs is InputKind.PAIRS
    framework = "cross-encoder" if takes_pairs else "pipeline"
    name = "sentence-transformers" if takes_pairs else "transformers"
    inputs = {INPUTS: head.inputs.value}
    options = {
        **inputs,
        "task": head.task,
        "max_tokens": str(limit or ""),
        "overlap_tokens": str(limit // 4) if limit and head.reads_windows else "",
        "by_token": "yes" if head.by_token else "",
    }
    variants = [
        Spec(
            f"lanner {variant.name}",
            "lanner-head",
            str(artifact.directory),
            {**inputs, "variant": variant.name},
        )
        for variant in manifest.variants
    ]
    return [Spec(f"{name} torch fp32", framework, checkpoint, options), *variants]


def load_lanner_head(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a variant of an artifact with any head; `options` names it as ``variant``."""
    begin = time.perf_counter()
    import lanner  # noqa: PLC0415 (its import is what is timed)

    imported_s, imported_mb = time.perf_counter() - begin, resident_mb()
    model = lanner.load(path, variant=options["variant"], threads=threads)
    load_s = time.perf_counter() - begin - imported_s

    method = getattr(model, model.manifest.head_record.methods[0])
    files = model.manifest.files
    facts = {
        "engine": model.runner.engine.name,
        "precision": model.variant.precision,
        "token_budget": model.runner.token_budget,
        "model_bytes": sum(files[name].bytes for name in model.variant.files),
    }
    answer = _of_one_or_many(lambda inputs, size: method(inputs, batch_size=size))
    return Loaded(answer, imported_s, load_s, facts, _versions(), imported_mb)


def load_cross_encoder(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a `CrossEncoder` of sentence-transformers."""
    begin = time.perf_counter()
    import torch  # noqa: PLC0415
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    imported_s, imported_mb = time.perf_counter() - begin, resident_mb()
    torch.set_num_threads(threads)
    model = CrossEncoder(path, device="cpu")
    load_s = time.perf_counter() - begin - imported_s
    predict = partial(model.predict, show_progress_bar=False)
    answer = _of_one_or_many(lambda pairs, size: predict(pairs, batch_size=size))
    return Loaded(answer, imported_s, load_s, _torch_facts(path), _versions(), imported_mb)


def load_pipeline(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a pipeline of transformers; see `head_specs` for the options.

    As in Lanner, a classifier cuts texts that are too long, and a tagger reads them in overlapping
    windows.
    """
    begin = time.perf_counter()
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    limit = int(options["max_tokens"]) if options["max_tokens"] else None
    settings: dict[str, Any] = {"task": options["task"], "model": path, "device": "cpu"}
    pipeline = transformers.pipeline
    tokenizer_class = transformers.AutoTokenizer
    imported_s, imported_mb = time.perf_counter() - begin, resident_mb()
    torch.set_num_threads(threads)
    own = {} if limit is None else {"model_max_length": limit}
    settings["tokenizer"] = tokenizer_class.from_pretrained(path, **own)
    call: dict[str, Any] = {"truncation": True, "top_k": None}
    if options["by_token"]:
        settings["aggregation_strategy"] = "simple"
        call = {"stride": int(options["overlap_tokens"])} if options["overlap_tokens"] else {}
    model = pipeline(**settings)
    load_s = time.perf_counter() - begin - imported_s
    answer = _of_one_or_many(lambda inputs, size: model(inputs, batch_size=size, **call))
    return Loaded(answer, imported_s, load_s, _torch_facts(path), _versions(), imported_mb)


HEAD_KINDS: dict[str, Load] = {
    "lanner-head": load_lanner_head,
    "cross-encoder": load_cross_encoder,
    "pipeline": load_pipeline,
}


def _of_one_or_many(answer: Callable[[list[Any], int], Any]) -> Encode:
    def answer_one_or_many(inputs: Any, batch_size: int = 32) -> Any:
        if isinstance(inputs, list):
            return answer(inputs, batch_size)
        return answer([inputs], 1)[0]

    return answer_one_or_many


def _torch_facts(path: str) -> dict[str, Any]:
    files = Path(path).rglob("*.safetensors")
    model_bytes = sum(file.stat().st_size for file in files)
    return {"engine": "torch", "precision": "float32", "model_bytes": model_bytes}


def _versions() -> dict[str, str]:
    from lanner.machine.machine import package_versions  # noqa: PLC0415 (not among what is timed)

    return package_versions(*PACKAGES)
