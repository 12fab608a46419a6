"""The dialect of KServe and Triton: models as tensors, for any of their clients.

`lanner.connect("http://...")` speaks it, so the service and a Triton server are the same to it.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner._version import __version__
from lanner.artifact.manifest import TASKS
from lanner.errors import ModelChangedError
from lanner.running.runner import TYPE_IDS, Sequences
from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.service.core.vectors import to_json
from lanner.service.dialects import kserve_tensors
from lanner.service.dialects.dialect import Route, refusal_headers, report_cut
from lanner.text.tokenization import Pair
from lanner.triton.contract.tensors import (
    IDS,
    INPUT_KIND,
    MASK,
    TEXT,
    TEXT_PAIR,
    TEXT_SUFFIX,
    TOKENS_KIND,
    VARIANT,
)

#: Other names of the texts, which clients of other servers send.
_TEXT_NAMES = (TEXT, "input_text")
_MOST_BATCH = 4_096
Tensor = NDArray[Any]


async def server(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /v2``."""
    del request, pipeline
    extensions = ["binary_tensor_data", "model_configuration"]
    return Response(to_json({"name": "lanner", "version": __version__, "extensions": extensions}))


async def live(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /v2/health/live``."""
    del request, pipeline
    return Response()


async def model_ready(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /v2/models/{}/ready``."""
    await pipeline.health.require(_served(request, pipeline)[0])
    return Response()


async def index(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /v2/repository/index``."""
    del request
    return Response(
        to_json(
            [
                {"name": one.name, "version": str(one.version), "state": "READY"}
                for one in pipeline.catalogue
            ]
        )
    )


async def metadata(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /v2/models/{}``."""
    served, takes_texts = _served(request, pipeline)
    manifest = served.manifest
    if takes_texts:
        names = [TEXT, TEXT_PAIR] if manifest.head_record.takes_pairs else [TEXT]
        inputs = [{"name": name, "datatype": "BYTES", "shape": [-1, 1]} for name in names]
    else:
        inputs = [{"name": n, "datatype": "INT64", "shape": [-1, -1]} for n in manifest.inputs]
    tokens = [-1] if manifest.head_record.by_token else []
    shape = [-1, *tokens, manifest.dimension]
    outputs = [{"name": manifest.outputs[0], "datatype": "FP32", "shape": shape}]
    content = {
        "name": request.values[0],
        "versions": [str(served.version)],
        "platform": "lanner",
        "inputs": inputs,
        "outputs": outputs,
    }
    return Response(to_json(content))


async def config(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /v2/models/{}/config``: with all that a client needs to tokenise."""
    served, takes_texts = _served(request, pipeline)
    if takes_texts:
        msg = "the model has no configuration: ask for that of its token model"
        raise Refusal(Kind.NOT_FOUND, msg)
    parameters = {
        INPUT_KIND: TOKENS_KIND,
        VARIANT: served.model.variant.name,
        **await served.in_thread(served.carried_files),
    }
    content = {
        "name": served.name,
        "platform": "",
        "backend": "lanner",
        "max_batch_size": _MOST_BATCH,
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }
    return Response(to_json(content))


async def infer(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /v2/models/{}/infer``."""
    served, takes_texts = _served(request, pipeline)
    with request.part("decode"):
        asked, tensors = kserve_tensors.read(request)
    timeout_us = asked.parameters.get("timeout")
    if type(timeout_us) is int and timeout_us > 0:
        request.deadline_s = min(request.deadline_s, time.monotonic() + timeout_us / 1e6)
    name = served.manifest.outputs[0]
    if takes_texts or any(one in tensors for one in _TEXT_NAMES):
        output, _ = await pipeline.rows(
            request, served, _texts(tensors), prompt=served.prompt(None)
        )
    else:
        output = await _of_tokens(request, pipeline, served, tensors)
    with request.part("encode"):
        body, header_bytes = kserve_tensors.written(
            asked, {name: output}, model=request.values[0], version=served.version
        )
    answer = Response(body)
    if header_bytes is not None:
        answer.media_type = "application/octet-stream"
        answer.headers["inference-header-content-length"] = str(header_bytes)
    return report_cut(request, answer)


def _texts(tensors: dict[str, Tensor]) -> list[str | Pair]:
    left = next((tensors[name] for name in _TEXT_NAMES if name in tensors), None)
    if left is None:
        msg = f"the model takes the input {TEXT}"
        raise Refusal(Kind.INVALID, msg, param=TEXT)
    texts = _decoded(left)
    if TEXT_PAIR not in tensors:
        return [*texts]
    pairs = _decoded(tensors[TEXT_PAIR])
    if len(pairs) != len(texts):
        msg = f"{TEXT} has {len(texts)} texts and {TEXT_PAIR} {len(pairs)}: give as many"
        raise Refusal(Kind.INVALID, msg, param=TEXT_PAIR)
    return list(zip(texts, pairs, strict=True))


def _decoded(tensor: Tensor) -> list[str]:
    if tensor.dtype != np.object_:
        msg = f"{TEXT} must be BYTES"
        raise Refusal(Kind.INVALID, msg, param=TEXT)
    try:
        return [value.decode() for value in tensor.reshape(-1)]
    except UnicodeDecodeError:
        msg = f"{TEXT} must be UTF-8"
        raise Refusal(Kind.INVALID, msg, param=TEXT) from None


async def _of_tokens(
    request: Request, pipeline: Pipeline, served: ServedModel, tensors: dict[str, Tensor]
) -> Tensor:
    pipeline.require_texts(served)
    ids, mask, types = _token_tensors(served, tensors)
    is_token = mask != 0
    rows = [row[kept] for row, kept in zip(ids, is_token, strict=True)]
    of_pairs = None
    if types is not None:
        of_pairs = [row[kept].tolist() for row, kept in zip(types, is_token, strict=True)]
    # Tokens that are read but not pooled, those of a prompt, are as many in each row.
    by_token = served.manifest.head_record.by_token
    unpooled = int((mask[0] == 2).sum()) if len(mask) and not by_token else 0
    # Of a model that answers each token, they are those at the end that are not read.
    attended = ((mask != 0) & (mask != 2)).sum(axis=1).tolist() if by_token else None
    sequences = Sequences([row.tolist() for row in rows], of_pairs, unpooled, attended)
    request.texts, request.tokens = len(rows), int(is_token.sum())
    pipeline.check_tokens(request.tokens)
    shape = (len(rows), ids.shape[1]) if by_token else (len(rows),)
    output = np.zeros((*shape, served.manifest.dimension), np.float32)
    try:
        with pipeline.queue.admitted(request.tokens), pipeline.queue.run(request):
            deadline_s = pipeline.deadline_s(request)
            for some, block in await served.blocks(sequences, deadline_s=deadline_s):
                if block.ndim == 3:
                    length = min(block.shape[1], ids.shape[1])
                    output[some, :length] = block[:, :length]
                else:
                    output[some] = block
    except ModelChangedError:
        await served.renew()
        msg = "the model was exchanged: tokenise with the new version's tokenizer"
        raise Refusal(Kind.UNAVAILABLE, msg) from None
    return output


def _token_tensors(
    served: ServedModel, tensors: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return token ids, mask and token types, int64 [n, length] each, checked."""
    manifest = served.manifest
    missing = [name for name in manifest.inputs if name not in tensors]
    if missing:
        msg = f"the model takes the inputs {', '.join(manifest.inputs)}"
        raise Refusal(Kind.INVALID, msg, param=missing[0])
    ids, mask = tensors[IDS], tensors.get(MASK, np.ones_like(tensors[IDS]))
    types = tensors[TYPE_IDS] if TYPE_IDS in manifest.inputs else None
    all_of_them = [ids, mask] if types is None else [ids, mask, types]
    if any(one.ndim != 2 or one.shape != ids.shape or one.dtype.kind != "i" for one in all_of_them):
        msg = f"{', '.join(manifest.inputs)} must be integers of one shape, [texts, tokens]"
        raise Refusal(Kind.INVALID, msg, param=IDS)
    most, size = manifest.tokenizer.max_tokens, manifest.token_ids
    if most is not None and ids.shape[1] > most:
        msg = f"{IDS} has {ids.shape[1]:,} tokens, and the model reads {most:,}"
        raise Refusal(Kind.TOO_LONG, msg, param=IDS)
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        msg = f"{IDS} has ids that are not of the model's vocabulary, 0 to {size - 1}"
        raise Refusal(Kind.INVALID, msg, param=IDS)
    if types is not None and types.size and (types.min() < 0 or types.max() > 1):
        msg = f"{TYPE_IDS} must be 0 or 1"
        raise Refusal(Kind.INVALID, msg, param=TYPE_IDS)
    return ids, mask, types


def _served(request: Request, pipeline: Pipeline) -> tuple[ServedModel, bool]:
    """Return the model of the path, and whether its path is that of the text model."""
    name = request.values[0]
    is_text = name.endswith(TEXT_SUFFIX) and name not in pipeline.catalogue.models
    name = name.removesuffix(TEXT_SUFFIX) if is_text else name
    stem, _, task = name.rpartition("_")
    is_way = task in TASKS and name not in pipeline.catalogue.models
    served, _ = pipeline.model(request, stem if is_way else name)
    if is_way:
        if task not in served.ways:
            msg = f"the model {served.name} has no way of its own for the task {task}"
            raise Refusal(Kind.NO_MODEL, msg)
        served = served.way(task)
    version = request.values[1] if len(request.values) > 1 else ""
    if version and version != str(served.version):
        msg = f"the model {served.name} has the version {served.version} alone"
        raise Refusal(Kind.NO_MODEL, msg)
    return served, is_text


def refuse(refusal: Refusal) -> Response:
    """Return a refusal in the shape of KServe."""
    message = refusal.message
    if refusal.kind is Kind.NO_MODEL:
        message = f"Request for unknown model: {message}"  # which clients of Triton look for
    if refusal.kind is Kind.OVERLOADED:
        message = f"Exceeds maximum queue size: {message}"
    return Response(
        to_json({"error": message}), refusal.kind.status, headers=refusal_headers(refusal)
    )


_OF_MODEL = (
    Route("GET", "", metadata, refuse),
    Route("GET", "/config", config, refuse),
    Route("GET", "/ready", model_ready, refuse),
    Route("POST", "/infer", infer, refuse),
)
ROUTES = (
    Route("GET", "/v2", server, refuse),
    Route("GET", "/v2/health/live", live, refuse, is_open=True),
    Route("POST", "/v2/repository/index", index, refuse),
    *(
        Route(one.method, f"/v2/models/{{}}{middle}{one.path}", one.answer, refuse)
        for middle in ("", "/versions/{}")
        for one in _OF_MODEL
    ),
)
