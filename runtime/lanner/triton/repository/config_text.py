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
    TOKEN_MASK,
    TOKEN_MODEL,
    TOKENS_KIND,
    VARIANT,
)
from lanner.triton.repository.backend import Backend, Section
from lanner.triton.repository.backends import PYTHON, find_backend
from lanner.triton.repository.serving import Serving

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
    backend = find_backend(serving.backend)
    inputs = [
        {
            "name": tensor,
            "data_type": "TYPE_INT64",
            "dims": [-1],
            **({"allow_ragged_batch": True} if backend.packs_requests else {}),
            **({"optional": True} if backend.packs_requests and tensor == TYPE_IDS else {}),
        }
        for tensor in manifest.inputs
    ]
    buckets = serving.lengths(manifest.tokenizer.max_tokens)
    own = {INPUT_KIND: TOKENS_KIND, VARIANT: variant.name}
    return written_config(
        [
            _head(name, manifest, variant, serving, keeps_one=keeps_one),
            (f"{backend.batches}\nattention_mask: 1 a token, 0 filling.", {"input": inputs}),
            ("What it answers, for each text.", {"output": [_output(manifest)]}),
            *_batching(serving),
            backend.instances(serving, variant),
            *_warmup(manifest, buckets, serving),
            *backend.optimization(manifest, variant, serving, buckets),
            _parameters(backend, serving, variant, own, buckets),
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
    if any(manifest.prompts.values()) or manifest.late_interaction is not None:
        prompt = {"name": PROMPT_NAME, "data_type": "TYPE_STRING", "dims": [1], "optional": True}
        inputs.append(prompt)
    outputs = [_output(manifest)]
    if record.by_token and record.answers_vectors:
        outputs.append({"name": TOKEN_MASK, "data_type": "TYPE_INT64", "dims": [-1]})
    elif record.by_token:
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
    in_python = replace(serving, backend=PYTHON.name, device=device, engine_cache=None)
    return written_config(
        [
            _head(name, manifest, variant, in_python),
            ("Texts in UTF-8; they batch whatever their lengths are.", {"input": inputs}),
            ("What it answers, for each text.", {"output": outputs}),
            *_batching(serving),
            PYTHON.instances(in_python, variant),
            *warmup,
            _parameters(PYTHON, in_python, variant, own, buckets),
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
    if find_backend(serving.backend).file is not None:
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


def _parameters(
    backend: Backend,
    serving: Serving,
    variant: Variant,
    own: dict[str, str],
    buckets: tuple[int, ...],
) -> Section:
    comment, parameters = backend.parameters(serving, variant)
    comment = f"What the client and the text model go by.\n{comment}".strip()
    known = {BUCKETS: ",".join(map(str, buckets))} if buckets else {}
    texts = own | known | parameters
    return comment, {"parameters": {k: {"string_value": v} for k, v in texts.items()}}


def _carried(carried: dict[str, str]) -> Section:
    comment = (
        "For clients, which fetch it with the configuration: the manifest of each version and the\n"
        "files that are needed to tokenise for it (zlib, base64). Do not change it by hand."
    )
    return comment, {"parameters": {k: {"string_value": v} for k, v in carried.items()}}
