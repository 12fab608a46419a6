"""CTranslate2: its encoder, with tokenizing, batches and pooling done here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner_perf.loading.loaded import Loaded, Start, size_of
from lanner_perf.loading.plain import Embedding

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors


def load_ctranslate2(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load its `Encoder` of a converted model, with the tokenizer of a plain folder.

    `options` names the ``compute`` type and the ``goal`` of the threads. With the goal
    ``throughput`` each thread runs batches of its own, with ``latency`` all threads share every
    batch. Texts are sorted by length.
    """
    start = Start(options, threads)
    import ctranslate2  # noqa: PLC0415 (its import is what is timed)
    import numpy as np  # noqa: F401, PLC0415
    import tokenizers  # noqa: PLC0415

    start.imported()
    workers = threads if options["goal"] == "throughput" else 1
    encoder = ctranslate2.Encoder(
        path,
        device="cpu",
        compute_type=options["compute"],
        inter_threads=workers,
        intra_threads=threads // workers,
    )
    embedding = Embedding.read(Path(path))
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(path) / "tokenizer.json"))
    tokenizer.enable_truncation(embedding.max_tokens)
    tokenizer.no_padding()
    pool = ThreadPoolExecutor(workers)
    start.loaded()
    facts = {
        "engine": "ctranslate2",
        "precision": encoder.compute_type,
        "model_bytes": size_of(Path(path) / "model.bin"),
    }

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        many = [texts] if isinstance(texts, str) else texts
        encoded = [encoding.ids for encoding in tokenizer.encode_batch(many)]
        vectors = _in_batches(encoder, encoded, embedding, batch_size, pool)
        return vectors[0] if isinstance(texts, str) else vectors

    return start.done(encode, facts)


def _in_batches(
    encoder: Any,
    encoded: Sequence[list[int]],
    embedding: Embedding,
    batch_size: int,
    pool: ThreadPoolExecutor,
) -> Vectors:
    import numpy as np  # noqa: PLC0415

    def run(rows: list[int]) -> Vectors:
        output = encoder.forward_batch([encoded[row] for row in rows])
        lengths = np.array([len(encoded[row]) for row in rows])
        return pooled(np.array(output.last_hidden_state), lengths, embedding)

    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]), reverse=True)
    batches = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
    vectors = np.empty((len(encoded), embedding.dimension), np.float32)
    # Handing a single batch to another thread costs more than it gains.
    answers = pool.map(run, batches) if len(batches) > 1 else map(run, batches)
    for rows, answer in zip(batches, answers, strict=True):
        vectors[rows] = answer
    return vectors


def pooled(hidden: Vectors, lengths: Any, embedding: Embedding) -> Vectors:
    """Pool the vectors of tokens to the vectors of texts.

    Args:
        hidden: float32 [texts, longest, dimension], padded on the right.
        lengths: Tokens of each text, int64 [texts].
        embedding: The pooling and the normalization.

    Returns:
        float32 [texts, dimension].
    """
    import numpy as np  # noqa: PLC0415

    if embedding.pooling == "cls":
        vectors = hidden[:, 0]
    else:
        is_token = np.arange(hidden.shape[1]) < lengths[:, None]
        vectors = np.einsum("nld,nl->nd", hidden, is_token.astype(hidden.dtype))
        vectors /= lengths[:, None].astype(hidden.dtype)
    if embedding.is_normalized:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
