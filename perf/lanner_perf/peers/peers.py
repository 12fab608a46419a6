"""The peers: the runtimes that are measured beside Lanner with the same checkpoint.

`all_peers` makes the environments and model files that do not exist yet, and lets every runtime
answer a few sentences. It leaves out peers that cannot be made or whose answers differ, with the
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lanner.errors import InputError
from lanner.files.texts import shipped_sentences
from lanner.machine.machine import this_machine
from lanner_perf.peers import recipes
from lanner_perf.peers.model_folders import MODEL, limited_folder, plain_folder
from lanner_perf.peers.peer_models import Made, Peer, Place, make_models
from lanner_perf.peers.verification import verified

REFERENCE = "torch"
#: The default directories of the environments and of the model files.
ENVIRONMENTS, WORK = Path("build/peers"), Path("build/peer-models")
#: The kinds of CPU for which optimum has a recipe, with the flag that each needs, best first.
QUANTIZATIONS = (("avx512_vnni", "avx512_vnni"), ("avx512", "avx512f"), ("avx2", "avx2"))
#: The least cosine to the checkpoint in float32, and in bfloat16 with its eight bits of mantissa.
_EXACT, _BF16 = 0.9999, 0.999

#: Peers that were tried and are not measured, with the reasons.
NOT_MEASURED = {
    "infinity torch int8": "infinity_emb 0.0.78 quantizes so that the mean cosine to the "
    "checkpoint is 0.93",
    "llama.cpp": "llama-cpp-python 0.3.36 has no wheel for this platform, and its tokenizer gives "
    "other tokens: cosine 0.68 on a sentence that Lanner ships",
    "text-embeddings-inference": "the package index has neither a wheel nor a source distribution",
}


def quantization_for(cpu_flags: Sequence[str]) -> str:
    """Return the recipe of dynamic quantization that fits the CPU."""
    return next((name for name, flag in QUANTIZATIONS if flag in cpu_flags), "arm64")


def peers(quantization: str) -> dict[str, Peer]:
    """Return all peers by their names; `quantization` is one of `QUANTIZATIONS` or ``"arm64"``."""
    qint8 = recipes.onnx_qint8(quantization)
    return {
        **_sentence_transformers(qint8),
        "fastembed": _of_onnx_file("FastEmbed fp32", "fastembed", recipes.ONNX, _EXACT),
        "fastembed-qint8": _of_onnx_file("FastEmbed qint8", "fastembed", qint8, None),
        # Its fp32 would run the same file in ONNX Runtime again.
        "light-embed-qint8": _of_onnx_file("light-embed qint8", "light-embed", qint8, None),
        **_ctranslate2(),
        **_infinity(qint8),
    }


def _sentence_transformers(qint8: str) -> dict[str, Peer]:
    kind = "sentence-transformers"

    def backend(
        name: str, file: str, precision: str, least_cosine: float | None, **options: str
    ) -> Peer:
        framework, _, inside = file.partition("/")
        backend = name.partition(" ")[0]
        options |= {"backend": backend, "file": inside, "precision": precision}
        where = (kind, backend, (file,), framework)
        return Peer(f"{kind} {name}", kind, *where, options=options, least_cosine=least_cosine)

    openvino, openvino_qint8 = recipes.OPENVINO, recipes.OPENVINO_QINT8
    return {
        REFERENCE: Peer(f"{kind} torch fp32", kind, least_cosine=_EXACT),
        "torch-bf16": Peer(
            f"{kind} torch bf16", kind, options={"dtype": "bfloat16"}, least_cosine=_BF16
        ),
        "onnx": backend("onnx fp32", recipes.ONNX, "fp32", _EXACT),
        "onnx-o3": backend("onnx O3", recipes.ONNX_O3, "fp32", _EXACT),
        "onnx-qint8": backend("onnx qint8", qint8, "int8 dynamic", None),
        # Without a precision hint, OpenVINO computes in bfloat16 if the CPU can.
        "openvino": backend("openvino", openvino, "fp32", _BF16),
        "openvino-f32": backend("openvino f32", openvino, "fp32", _EXACT, compute="f32"),
        "openvino-qint8": backend("openvino qint8", openvino_qint8, "int8 static", None),
    }


def _of_onnx_file(title: str, kind: str, file: str, least_cosine: float | None) -> Peer:
    """Return a peer of a runtime that reads plain ONNX files, with one made from the checkpoint."""
    return Peer(
        title,
        kind,
        "light",
        "onnx",
        (recipes.PLAIN, file),
        make_folder=plain_folder,
        options={"file": MODEL, "precision": "fp32" if least_cosine else "int8 dynamic"},
        least_cosine=least_cosine,
    )


def _ctranslate2() -> dict[str, Peer]:
    kind = "ctranslate2"

    def peer(name: str, file: str, goal: str, least_cosine: float | None) -> Peer:
        title, options = f"CTranslate2 {name}", {"compute": file, "goal": goal}
        where = ("light", kind, (file,), file)
        return Peer(title, kind, *where, options=options, least_cosine=least_cosine)

    # A batch for each thread, or all threads for a batch: each way is best for some loads.
    float32, int8 = recipes.CTRANSLATE2, recipes.CTRANSLATE2_INT8
    return {
        "ctranslate2": peer("float32", float32, "throughput", _EXACT),
        "ctranslate2-latency": peer("float32, latency", float32, "latency", _EXACT),
        "ctranslate2-int8": peer("int8", int8, "throughput", None),
        "ctranslate2-int8-latency": peer("int8, latency", int8, "latency", None),
    }


def _infinity(qint8: str) -> dict[str, Peer]:
    kind = "infinity"

    def torch(name: str, dtype: str, least_cosine: float) -> Peer:
        options = {"engine": "torch", "dtype": dtype}
        title = f"{kind} torch {name}"
        return Peer(title, kind, kind, options=options, least_cosine=least_cosine)

    def onnx(name: str, file: str, precision: str, least_cosine: float | None) -> Peer:
        return Peer(
            f"{kind} {name}",
            kind,
            kind,
            "onnx",
            (recipes.PLAIN, file),
            make_folder=limited_folder,
            options={"engine": "optimum", "file": MODEL, "precision": precision},
            least_cosine=least_cosine,
        )

    return {
        "infinity": torch("fp32", "float32", _EXACT),
        "infinity-bf16": torch("bf16", "bfloat16", _BF16),
        "infinity-onnx": onnx("onnx O3", recipes.ONNX_O3, "fp32", _EXACT),
        "infinity-onnx-qint8": onnx("onnx qint8", qint8, "int8 dynamic", None),
    }


def all_peers(
    checkpoint: str,
    environments: Path = ENVIRONMENTS,
    work: Path = WORK,
    *,
    names: Sequence[str] | None = None,
    calibration: Sequence[str] | None = None,
    threads: int = 1,
    progress: Callable[[str], object] = lambda _: None,
) -> Made:
    """Make the files that the peers need, and the specs of their subjects.

    Args:
        checkpoint: A checkpoint of sentence-transformers.
        environments: The directory of the environments; missing ones are made.
        work: The directory of the model files. Files of the same checkpoint, tools and settings are
            reused.
        names: Some of `peers`; `REFERENCE` is always the first subject, named or not. None for all.
        calibration: Texts for the ranges of OpenVINO's int8; None for the sentences Lanner ships.
        threads: The threads for checking the answers.
        progress: Called when a step begins.

    Returns:
        The subjects, and the peers left out. If all are requested, the peers of `NOT_MEASURED` are
            among the latter.

    Raises:
        InputError: A name is unknown, or the checkpoint is not a directory.
        SubjectError: The reference cannot start.
    """
    quantization = quantization_for(this_machine().cpu_flags)
    known = peers(quantization)
    if unknown := [name for name in names or () if name not in known]:
        msg = f"there is no peer {unknown[0]!r}: give some of {', '.join(known)}"
        raise InputError(msg)
    if not Path(checkpoint).is_dir():
        msg = f"{checkpoint} is not a directory: give the checkpoint's directory for the peers"
        raise InputError(msg)
    chosen = {name: peer for name, peer in known.items() if names is None or name in names}
    texts = shipped_sentences()
    settings = {"quantization": quantization, "calibration": list(calibration or texts)}
    place = Place(Path(checkpoint), environments, work)
    made = make_models({REFERENCE: known[REFERENCE], **chosen}, place, settings, progress)
    if names is None:
        made.left_out.extend(
            {"name": name, "reason": reason} for name, reason in NOT_MEASURED.items()
        )
    return verified(made, place, texts, threads, progress)
