"""Writing the config.pbtxt of a model, section by section."""

from dataclasses import replace
from typing import Any

from lanner.artifact.heads import InputKind
from lanner.artifact.manifest import Manifest, Variant
from lanner.running.runner import TYPE_IDS
from lanner.triton.contract.model_config import written_config
from lanner.triton.contract.tensors import (
    BUCKETS,
    CONTINUES,
    IDS,
    INPUT_KIND,
    OFFSETS,
    PROMPT_NAME,
    TEXT,
    TEXT_KIND,
    TEXT_PAIR,
    TEXT_SUFFIX,
    THREADS,
    TOKEN_MODEL,
    TOKENS_KIND,
    VARIANT,
)
from lanner.triton.repository.gpu_serving import (
    CONTEXT_MEMORY,
    accelerators,
    graph_specs,
    profile_names,
)
from lanner.triton.repository.serving import Serving

Section = tuple[str, dict[str, Any]]
_CPU, _GPU = "KIND_CPU", "KIND_GPU"
#: A day. Unless the model sets a timeout, Triton ignores that of a request, which may only be
#: shorter (PolicyQueue::Enqueue of triton-inference-server/core).
_FOR_EVER_MS = 24 * 3_600_000


def token_config(
    name: str,
    manifest: Manifest,
    variant: Variant,
    serving: Serving,
    carried: dict[str, str],
    keeps_one: bool = True,
) -> str:
    """Return the config.pbtxt of a token model.

    Args:
        name: The model's name.
        manifest: The manifest of the newest version.
        variant: The variant that runs.
        serving: The serving options.
        carried: Parameters that a client reads; see `lanner.triton.contract.served_model`.
        keeps_one: True if the previous version can also be loaded by this configuration.
    """
    is_ragged = serving.backend == "python"
    inputs = [
        {
            "name": tensor,
            "data_type": "TYPE_INT64",
            "dims": [-1],
            **({"allow_ragged_batch": True} if is_ragged else {}),
            **({"optional": True} if is_ragged and tensor == TYPE_IDS else {}),
        }
        for tensor in manifest.inputs
    ]
    buckets = serving.lengths(manifest.tokenizer.max_tokens)
    how = (
        "Requests of unequal length run together: the model packs them itself."
        if is_ragged
        else "Only requests of equal length run together: fill them up to a length of\n"
        f"{BUCKETS} below, as Lanner's client and text model do."
    )
    return written_config(
        [
            _head(name, manifest, variant, serving, keeps_one=keeps_one),
            (f"{how}\nattention_mask: 1 a token, 0 filling.", {"input": inputs}),
            ("What it answers, for each text.", {"output": [_output(manifest)]}),
            *_batching(serving),
            _instances(serving, variant),
            *_warmup(manifest, buckets, serving),
            *_optimization(manifest, variant, serving, buckets),
            _parameters(
                serving, variant, {INPUT_KIND: TOKENS_KIND, VARIANT: variant.name}, buckets
            ),
            _carried(carried),
        ]
    )


def text_config(
    name: str, manifest: Manifest, variant: Variant, serving: Serving, carried: dict[str, str]
) -> str:
    """Return the config.pbtxt of a text model, which tokenises on the server."""
    record = manifest.head_record
    inputs: list[dict[str, Any]] = [{"name": TEXT, "data_type": "TYPE_STRING", "dims": [1]}]
    if record.takes_pairs:
        pair: dict[str, Any] = {"name": TEXT_PAIR, "data_type": "TYPE_STRING", "dims": [1]}
        inputs.append(pair | ({} if record.inputs is InputKind.PAIRS else {"optional": True}))
    if any(manifest.prompts.values()):
        prompt = {"name": PROMPT_NAME, "data_type": "TYPE_STRING", "dims": [1], "optional": True}
        inputs.append(prompt)
    outputs = [_output(manifest)]
    if record.by_token:
        outputs.append({"name": OFFSETS, "data_type": "TYPE_INT64", "dims": [-1, 2]})
        outputs.append({"name": CONTINUES, "data_type": "TYPE_INT64", "dims": [-1]})
    own: dict[str, str] = {INPUT_KIND: TEXT_KIND, VARIANT: variant.name}
    buckets = serving.lengths(manifest.tokenizer.max_tokens)
    # A server runs no model while it loads them, so a model that calls another cannot warm up.
    warmup = [] if serving.calls_token_model else _text_warmup(manifest, serving)
    if serving.calls_token_model:
        own[TOKEN_MODEL] = name.removesuffix(TEXT_SUFFIX)
    # A model that calls another needs no GPU of its own.
    device = "cpu" if serving.calls_token_model else serving.device
    in_python = replace(serving, backend="python", device=device, engine_cache=None)
    return written_config(
        [
            _head(name, manifest, variant, in_python),
            ("Texts in UTF-8; they batch whatever their lengths are.", {"input": inputs}),
            ("What it answers, for each text.", {"output": outputs}),
            *_batching(serving),
            _instances(in_python, variant),
            *warmup,
            _parameters(in_python, variant, own, buckets),
            _carried(carried),
        ]
    )


def _head(
    name: str, manifest: Manifest, variant: Variant, serving: Serving, *, keeps_one: bool = False
) -> Section:
    # A text model calls the version that it tokenised for, even while that version is unloaded.
    keeps_one = keeps_one and serving.calls_token_model
    fields: dict[str, Any] = {
        "name": name,
        "backend": serving.backend,
        "max_batch_size": serving.max_batch_size,
        "version_policy": {"latest": {"num_versions": 2 if keeps_one else 1}},
    }
    comment = (
        f"{manifest.name}, {manifest.head}, {variant.name}. Written by 'lanner repository', which\n"
        "writes it anew for a new version; 'lanner repository --check' checks what you change.\n"
        "max_batch_size: the most texts that run together.\n"
        "version_policy: a new version takes over, "
        + ("the text model keeps the one before." if keeps_one else "the old one ends its work.")
    )
    if serving.backend != "python":
        fields["default_model_filename"] = variant.file
        comment += "\ndefault_model_filename: in every version, whichever variant that is."
    return comment, fields


def _output(manifest: Manifest) -> dict[str, Any]:
    dims = [-1, manifest.dimension] if manifest.head_record.by_token else [manifest.dimension]
    return {"name": manifest.outputs[0], "data_type": "TYPE_FP32", "dims": dims}


def _batching(serving: Serving) -> list[Section]:
    batching: dict[str, Any] = {}
    if serving.max_queue_size is not None or serving.queue_timeout_ms is not None:
        timeout_ms = serving.queue_timeout_ms or _FOR_EVER_MS
        batching["default_queue_policy"] = {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": timeout_ms * 1_000,
            "allow_timeout_override": True,
            "max_queue_size": serving.max_queue_size or 0,
        }
    if serving.preferred_batch_sizes:
        batching["preferred_batch_size"] = list(serving.preferred_batch_sizes)
    if serving.max_queue_delay_us:
        batching["max_queue_delay_microseconds"] = serving.max_queue_delay_us
    if serving.priority_levels:
        batching["priority_levels"] = serving.priority_levels
        batching["default_priority_level"] = (serving.priority_levels + 1) // 2
    comment = (
        "What waits while the model is busy runs together next. A delay makes batches larger and\n"
        "every answer later: max_queue_delay_microseconds, with preferred_batch_size to end it.\n"
        "default_queue_policy bounds the queue (max_queue_size) and the time in it\n"
        "(default_timeout_microseconds; a request may bring a shorter one). With one, Triton\n"
        "sometimes lets requests wait for half a second (server #8870): set it if you need it."
    )
    sections: list[Section] = [(comment, {"dynamic_batching": batching})]
    if serving.response_cache:
        comment = "Answers are remembered where tritonserver runs with --cache-config."
        sections.append((comment, {"response_cache": {"enable": True}}))
    return sections


def _instances(serving: Serving, variant: Variant) -> Section:
    group: dict[str, Any] = {"count": serving.instances, "kind": _CPU}
    if not serving.is_on_gpu:
        comment = (
            "Instances share the cores: count times threads must not exceed them (see parameters)."
        )
        if serving.backend == "openvino":
            comment = "Instances share one engine and its threads: a stream each (see parameters)."
        return comment, {"instance_group": [group]}
    comment = "An instance a GPU; a second one hides its transfers."
    group["kind"] = _GPU
    if serving.backend == "python":
        # The engines use the first GPU, whichever GPU the instance is meant for.
        comment = "On the first GPU; a server with CUDA_VISIBLE_DEVICES set takes another."
        group["gpus"] = [0]
    if serving.backend == "tensorrt" and (profiles := profile_names(variant.build)):
        comment += "\nprofile: those of the engine; without them Triton uses the first alone."
        group["profile"] = profiles
    return comment, {"instance_group": [group]}


def _warmup(manifest: Manifest, buckets: tuple[int, ...], serving: Serving) -> list[Section]:
    if not serving.warmup:
        return []
    longest = min(manifest.tokenizer.max_tokens or 512, 512)
    lengths = buckets or (*(n for n in (8, 16, 32, 64, 128, 256) if n < longest), longest)
    samples = []
    for length in lengths:
        tensors = {
            name: {
                "data_type": "TYPE_INT64",
                "dims": [length],
                **(
                    {"input_data_file": warmup_mask_file(length)}
                    if name not in (IDS, TYPE_IDS)
                    else {"zero_data": True}
                ),
            }
            for name in manifest.inputs
        }
        samples.append({"name": f"{length} tokens", "batch_size": 1, "inputs": tensors})
    comment = "Each length runs once before the model counts as ready; the files are in warmup/."
    return [(comment, {"model_warmup": samples})]


def warmup_mask_file(length: int) -> str:
    """Return the name of the file in ``warmup/`` that holds `length` ones, INT64."""
    return f"ones.{length}"


#: The file in ``warmup/`` of a text model: one text in Triton's serialisation.
WARMUP_TEXT_FILE = "text"


def _text_warmup(manifest: Manifest, serving: Serving) -> list[Section]:
    if not serving.warmup:
        return []
    sample = {"data_type": "TYPE_STRING", "dims": [1], "input_data_file": WARMUP_TEXT_FILE}
    names = [TEXT, TEXT_PAIR] if manifest.head_record.inputs is InputKind.PAIRS else [TEXT]
    inputs = dict.fromkeys(names, sample)
    comment = "A text runs once before the model counts as ready; it is in warmup/."
    return [(comment, {"model_warmup": [{"name": "a text", "batch_size": 1, "inputs": inputs}]})]


def _optimization(
    manifest: Manifest, variant: Variant, serving: Serving, buckets: tuple[int, ...]
) -> list[Section]:
    if serving.backend == "onnxruntime" and serving.is_on_gpu:
        comment = "use_tf32: fp32 is multiplied as fp32, which is slower than TF32 and exact."
        if serving.engine_cache is not None:
            comment = (
                "TensorRT runs the graph; the server builds its engine at the first load, which\n"
                "takes minutes, and keeps it where trt_engine_cache_path says. CUDA runs what it\n"
                "leaves."
            )
        found = {"gpu_execution_accelerator": accelerators(manifest, variant, serving, buckets)}
        return [(comment, {"optimization": {"execution_accelerators": found}})]
    if serving.backend == "onnxruntime":
        comment = (
            "The graph in the file is optimized already, without the fusions that are slow on a\n"
            "CPU: -1 leaves it so (1 would make them, 2 switches off what is needed)."
        )
        return [(comment, {"optimization": {"graph": {"level": -1}}})]
    if serving.backend == "tensorrt":
        comment = "A CUDA graph for each shape that comes again: launches cost nothing."
        cuda: dict[str, Any] = {"graphs": True}
        if variant.build is not None:
            comment += "\ngraph_spec: so many texts of each length, captured at the load."
            cuda["graph_spec"] = graph_specs(variant.build, manifest.inputs, buckets, serving)
        return [(comment, {"optimization": {"cuda": cuda}})]
    return []


def _parameters(
    serving: Serving, variant: Variant, own: dict[str, str], buckets: tuple[int, ...]
) -> Section:
    profiles = profile_names(variant.build)
    parameters = dict(own)
    comment = "What the client and the text model go by."
    if buckets:
        parameters[BUCKETS] = ",".join(map(str, buckets))
    if serving.backend == "python":
        comment += (
            "\nthreads: the cores of one instance; without it, its share of those that the server\n"
            "may use."
        )
        parameters["engine"] = "auto"
        if serving.is_on_gpu:
            parameters["device"] = serving.device
        if serving.threads is not None:
            parameters[THREADS] = str(serving.threads)
    elif serving.backend == "tensorrt" and len(profiles) > 1:
        comment += "\nexecution_context_allocation_strategy: for each profile the memory it needs."
        parameters |= CONTEXT_MEMORY
    elif serving.backend == "onnxruntime" and serving.is_on_gpu:
        parameters |= {"intra_op_thread_count": "1", "inter_op_thread_count": "1"}
    elif serving.backend == "onnxruntime":
        comment += (
            "\nintra_op_thread_count: the cores of one instance; 0 is all of the server's, which\n"
            "only a lone instance may have."
        )
        # The number of cores is unknown here, and each instance has at least one.
        unshared = 0 if serving.instances == 1 else 1
        parameters |= {
            "intra_op_thread_count": str(serving.threads or unshared),
            "inter_op_thread_count": "1",
            "enable_mem_pattern": "0",
        }
    elif serving.backend == "openvino":
        # The instances share one compiled model ("Throughput mode" of the README of the backend).
        comment += (
            "\nINFERENCE_NUM_THREADS: the cores of all instances together; without it,\n"
            "all of the server's. NUM_STREAMS: how many batches they run at once."
        )
        parameters |= {"NUM_STREAMS": str(serving.instances), "ENABLE_BATCH_PADDING": "YES"}
        if serving.cores is not None:
            parameters["INFERENCE_NUM_THREADS"] = str(serving.cores)
    return comment, {"parameters": {k: {"string_value": v} for k, v in parameters.items()}}


def _carried(carried: dict[str, str]) -> Section:
    comment = (
        "For clients, which fetch it with the configuration: the manifest of each version and the\n"
        "files that are needed to tokenise for it (zlib, base64). Do not change it by hand."
    )
    return comment, {"parameters": {k: {"string_value": v} for k, v in carried.items()}}
