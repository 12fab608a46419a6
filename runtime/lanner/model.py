"""A loaded artifact that answers: texts in, vectors and similarities out."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from lanner import similarity as _similarity
from lanner.artifact import Artifact
from lanner.batching import TOKEN_BUDGET, pad, plan_batches
from lanner.engines import Engine, open_engine
from lanner.errors import InputError, InputTypeError, MissingExtraError, UnsupportedError
from lanner.evaluation import ModelCardData
from lanner.machine import available_cores
from lanner.manifest import Manifest, Variant
from lanner.similarity import SearchResult, Vectors
from lanner.tokenization import Tokenizer, token_counts

#: Texts that are tokenised and sorted together: enough to fill batches of one length, few enough
#: that the token ids of a million texts are never in memory at once.
WINDOW_TEXTS = 8_192

Texts = str | Sequence[str] | NDArray[np.str_]


def load(
    path: str | Path,
    *,
    engine: str = "auto",
    variant: str = "auto",
    threads: int | None = None,
    token_budget: int = TOKEN_BUDGET,
) -> "EmbeddingModel":
    """Loads an artifact into this process.

    Args:
        path: A directory that ``lanner export`` wrote.
        engine: ``"onnxruntime"``, or ``"auto"`` for the one that the variant was made for.
        variant: ``"fp32"``, ``"int8"``, or ``"auto"`` for the fastest that is safe on this machine
            (see `lanner.artifact.Artifact.choose`).
        threads: Cores to use, or None for all that this process may use.
        token_budget: The most padded tokens in one batch.

    Raises:
        ArtifactError: It is no artifact, or a file of it is missing, truncated or changed.
        VariantError: It has no such variant, or there is no such engine.
        MissingExtraError: The engine's package is not installed.
        EngineError: The engine could not load the variant.
        InputError: `threads` or `token_budget` is less than 1.
    """
    threads = available_cores() if threads is None else threads
    for name, value in (("threads", threads), ("token_budget", token_budget)):
        if value < 1:
            msg = f"{name} must be at least 1, not {value}"
            raise InputError(msg)
    artifact = Artifact.open(path)
    if artifact.manifest.head != "embed":
        msg = f"{path} has the head {artifact.manifest.head!r}, and this Lanner runs only 'embed'"
        raise UnsupportedError(msg)
    chosen = artifact.choose(variant)
    return EmbeddingModel(
        manifest=artifact.manifest,
        variant=chosen,
        tokenizer=Tokenizer(
            artifact.file(artifact.manifest.tokenizer.file), artifact.manifest.tokenizer
        ),
        engine=open_engine(
            chosen.engine if engine == "auto" else engine, artifact.file(chosen.file)
        ),
        threads=threads,
        token_budget=token_budget,
    )


class EmbeddingModel:
    """Texts to vectors. Goes where a `SentenceTransformer` goes, into its evaluators for example.

    Any number of threads may call it at once. Made by `lanner.load`.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        variant: Variant,
        tokenizer: Tokenizer,
        engine: Engine,
        threads: int,
        token_budget: int,
    ) -> None:
        self.manifest = manifest
        self.variant = variant
        self.tokenizer = tokenizer
        self.engine = engine
        self.threads = threads
        self.token_budget = token_budget
        self.model_card_data = ModelCardData()
        self.prompts = dict(manifest.prompts)
        self.default_prompt_name = manifest.default_prompt_name
        # Made when first needed, and again after a fork, which leaves its threads behind.
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._pool_lock = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"EmbeddingModel({self.manifest.name!r}, variant={self.variant.name!r}, "
            f"engine={self.engine.name!r}, threads={self.threads})"
        )

    @property
    def similarity_fn_name(self) -> str:
        """The similarity that the checkpoint was trained for, for example ``"cosine"``."""
        return self.manifest.similarity

    @property
    def max_seq_length(self) -> int:
        """Longest input in tokens; what is longer is cut."""
        return self.manifest.tokenizer.max_tokens

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.manifest.dimension

    #: The name that sentence-transformers gave it before version 6.
    get_sentence_embedding_dimension = get_embedding_dimension

    def encode(
        self,
        sentences: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:  # an array, unless tensors are asked for
        """The vectors of texts. Arguments mean what they mean in sentence-transformers.

        Args:
            sentences: One text, or a sequence of them; it is not changed. A text that is longer
                than the model's limit is cut, as its checkpoint does.
            prompt_name: Which of the checkpoint's prompts to put before each text.
            prompt: A prompt to put before each text, instead of a named one.
            batch_size: The most texts in one batch; the token budget bounds it too.
            show_progress_bar: Whether to show progress on stderr; None is no.
            precision: Only ``"float32"`` (or None, which means it) so far.
            convert_to_numpy: False gives a list of torch tensors, one a text; needs torch.
            convert_to_tensor: True gives one torch tensor, whatever `convert_to_numpy` says.
            normalize_embeddings: Whether to scale the vectors to length 1.
            truncate_dim: How many of the first dimensions to keep, or None for all.

        Returns:
            float32 [n, dim] in the order of the texts; [dim] for a single str. A text without a
            single token gets the zero vector.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An argument is out of range, or there is no such prompt.
            UnsupportedError: `precision` is not ``"float32"``.
        """
        if precision not in (None, "float32"):
            msg = f"encode has no precision {precision!r} yet: use 'float32'"
            raise UnsupportedError(msg)
        if batch_size < 1:
            msg = f"batch_size must be at least 1, not {batch_size}"
            raise InputError(msg)
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else _text_list(sentences)
        if text_before := self._prompt(prompt_name, prompt):
            # A wrong type must be named at its index, not by str's "+".
            texts = [text_before + t if isinstance(t, str) else t for t in texts]
        vectors = np.zeros((len(texts), self.manifest.dimension), dtype=np.float32)
        with tqdm(total=len(texts), unit="text", disable=not show_progress_bar) as progress:
            for rows, block in self._run(texts, batch_size):
                vectors[rows] = block
                progress.update(len(rows))
        if truncate_dim is not None:
            vectors = _truncated(vectors, truncate_dim)
        if normalize_embeddings:
            vectors = _similarity.normalize(vectors)
        result = vectors[0] if single else vectors
        if convert_to_tensor:
            return _as_tensor(result)
        if not convert_to_numpy:
            return _as_tensor(result) if single else list(_as_tensor(result))
        return result

    def encode_query(self, sentences: Texts, **options: Any) -> Any:
        """`encode` with the checkpoint's prompt for queries, if it has one."""
        return self._encode_as(("query",), sentences, options)

    def encode_document(self, sentences: Texts, **options: Any) -> Any:
        """`encode` with the checkpoint's prompt for documents, if it has one."""
        return self._encode_as(("document", "passage", "corpus"), sentences, options)

    def similarity(self, a: ArrayLike, b: ArrayLike) -> Any:
        """Every vector of `a` against every one of `b`, float32 [len(a), len(b)].

        Uses the similarity of the checkpoint (`similarity_fn_name`), as a rule the cosine. An
        array; of torch tensors, a tensor, as the evaluators of sentence-transformers need it.
        """
        scores = _similarity.similarity(a, b, name=self.similarity_fn_name)
        return _as_tensor(scores) if _is_tensor(a) else scores

    def similarity_pairwise(self, a: ArrayLike, b: ArrayLike) -> Any:
        """Vector i of `a` against vector i of `b`, float32 [n]; an array or tensor as above."""
        scores = _similarity.similarity_pairwise(a, b, name=self.similarity_fn_name)
        return _as_tensor(scores) if _is_tensor(a) else scores

    def search(
        self, queries: Texts | ArrayLike, corpus: Texts | ArrayLike, k: int = 10
    ) -> SearchResult:
        """The k nearest of a corpus to each query; exact, in blocks.

        Args:
            queries: Texts, which are encoded, or vectors [n, dim]. One text or vector is one row.
            corpus: Texts, which are encoded, or vectors [m, dim].
            k: How many; fewer are returned when the corpus is smaller.

        Returns:
            `indices` int64 and `scores` float32, both [n, k], nearest first.
        """
        return _similarity.search(
            self._vectors(queries), self._vectors(corpus), k=k, name=self.similarity_fn_name
        )

    def _encode_as(self, names: tuple[str, ...], sentences: Texts, options: dict[str, Any]) -> Any:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options["prompt_name"] = next((name for name in names if name in self.prompts), None)
        return self.encode(sentences, **options)

    def _vectors(self, given: Texts | ArrayLike) -> ArrayLike:
        if isinstance(given, str):
            return self._vectors([given])
        is_text = isinstance(given, np.ndarray) and given.dtype.kind in "OUT"
        is_text = is_text or (
            isinstance(given, Sequence) and any(isinstance(t, str) for t in given)
        )
        vectors: ArrayLike = self.encode(given) if is_text else given  # type: ignore[arg-type]
        return vectors

    def _prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            return prompt
        name = prompt_name if prompt_name is not None else self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts)) or "none"
            msg = f"{self.manifest.name} has no prompt {name!r}: it has {known}"
            raise InputError(msg)
        return self.prompts[name]

    def _run(
        self, texts: list[str], batch_size: int
    ) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
        # Yields rows of the result and their vectors, in whatever order batches are finished.
        for start in range(0, len(texts), WINDOW_TEXTS):
            token_ids = self.tokenizer.encode(texts[start : start + WINDOW_TEXTS])
            lengths = token_counts(token_ids)
            rows = np.flatnonzero(lengths)  # a text without a token keeps its zero vector
            batches = [
                rows[batch]
                for batch in plan_batches(
                    lengths[rows], token_budget=self.token_budget, max_texts=batch_size
                )
            ]
            feeds = (self._feed([token_ids[row] for row in batch]) for batch in batches)
            run = map if self.threads == 1 or len(batches) == 1 else self._workers().map
            for batch, block in zip(batches, run(self.engine.run, feeds), strict=True):
                yield batch + start, block

    def _workers(self) -> ThreadPoolExecutor:
        # Each worker runs the engine on one core: independent batches scale better than one batch
        # that is cut across cores.
        with self._pool_lock:
            if self._pool is None or self._pool[0] != os.getpid():
                self._pool = os.getpid(), ThreadPoolExecutor(self.threads, "lanner")
            return self._pool[1]

    def _feed(self, token_ids: list[list[int]]) -> Mapping[str, NDArray[np.int64]]:
        record = self.manifest.tokenizer
        ids, mask = pad(token_ids, pad_token_id=record.pad_token_id, side=record.padding_side)
        return {"input_ids": ids, "attention_mask": mask}


def _text_list(sentences: Texts) -> list[str]:
    is_sequence = hasattr(sentences, "__len__") and hasattr(sentences, "__getitem__")
    if isinstance(sentences, (bytes, Mapping)) or not is_sequence:
        msg = f"encode takes a str or a sequence of str, not {type(sentences).__name__}"
        raise InputTypeError(msg)
    return list(sentences)


def _truncated(vectors: Vectors, truncate_dim: int) -> Vectors:
    if not 1 <= truncate_dim <= vectors.shape[1]:
        msg = f"truncate_dim must be from 1 to {vectors.shape[1]}, not {truncate_dim}"
        raise InputError(msg)
    return np.ascontiguousarray(vectors[:, :truncate_dim])


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"  # without importing it


def _as_tensor(vectors: Vectors) -> Any:
    try:
        import torch  # noqa: PLC0415 (only for who asks for a tensor)
    except ImportError:
        what, extra, module = "convert_to_tensor=True", "export", "torch"
        raise MissingExtraError(what, extra, module) from None
    return torch.from_numpy(vectors)
