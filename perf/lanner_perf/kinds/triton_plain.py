"""A hand-written client for the model of `lanner_perf.server.plain_repository`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner_perf.loading.loaded import Loaded, Start, size_of
from lanner_perf.subjects.totals import Counter, RequestClock

if TYPE_CHECKING:
    from lanner.triton.client.transport import Monitor
    from lanner.vectors.similarity import Vectors

#: The name of the model on its server.
MODEL = "plain"


def load_triton_plain(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a gRPC client of the server at the URL `path`, which sends one text a request.

    `options` names the file of the ``tokenizer`` and the ``file`` that the server runs.
    """
    start = Start(options, threads)
    import numpy as np  # noqa: PLC0415
    import tritonclient.grpc  # noqa: PLC0415 (its import is what is timed)
    from tokenizers import Tokenizer  # noqa: PLC0415

    grpc: Any = tritonclient.grpc
    start.imported()
    tokenizer = Tokenizer.from_file(options["tokenizer"])
    tokenizer.no_padding()
    host = path.removeprefix("grpc://")
    client = grpc.InferenceServerClient(host)
    clock = RequestClock()

    @clock.timed
    def send(ids: Any) -> Vectors:
        inputs = []
        for name, tensor in (("input_ids", ids), ("attention_mask", np.ones_like(ids))):
            given = grpc.InferInput(name, list(tensor.shape), "INT64")
            given.set_data_from_numpy(tensor)
            inputs.append(given)
        vectors: Vectors = client.infer(MODEL, inputs).as_numpy("sentence_embedding")
        return vectors

    def encode_one(text: str) -> Vectors:
        vectors: Vectors = send(np.array([tokenizer.encode(text).ids], dtype=np.int64))[0]
        return vectors

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        if isinstance(texts, str):
            return encode_one(texts)
        return np.stack([encode_one(text) for text in texts])

    start.loaded()

    def statistics() -> Monitor:
        from lanner.triton.client.grpc_transport import GrpcTransport  # noqa: PLC0415 (not of the client)
        from lanner.triton.client.transport import Address  # noqa: PLC0415

        return GrpcTransport(Address.parse(path))

    facts = {
        "engine": "triton",
        "precision": "int8 dynamic",
        "model_bytes": size_of(Path(options["file"])),
    }
    return start.done(encode, facts)._replace(totals=Counter(statistics, MODEL, clock, host))
