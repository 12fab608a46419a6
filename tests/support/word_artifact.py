"""An artifact so small that its vectors can be worked out by hand: word lookup and mean.

The words "a" to "f" have ids 2 to 7, "[PAD]" 0 and "[UNK]" 1. Word number i (from 0 for "a") has
the vector of zeros with a 1 at place i modulo 4. Only "[UNK]" has 0.5 at place 3. So "a b" is [0.5,
0.5, 0, 0], "a a b" is [2/3, 1/3, 0, 0] and "e" is the same as "a".
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from lanner.artifact.artifact import QUALITY_FILE
from lanner.artifact.manifest import (
    MANIFEST_FILE,
    Architecture,
    FileRecord,
    LateInteraction,
    Manifest,
    TokenizerRecord,
    Variant,
)

MAX_TOKENS = 4
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "c": 4, "d": 5, "e": 6, "f": 7}
DIMENSION = 4


def write_word_artifact(directory: Path, *, batch_independence: float = 1.0) -> Path:
    directory.mkdir(parents=True)
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))  # noqa: S106 (not a secret)
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    write_mean_graph(directory / "model.fp32.onnx")
    write_mean_graph(directory / "model.int8.onnx")
    parity = {
        "cosine_min": 1.0,
        "cosine_mean": 1.0,
        "largest_difference": 0.0,
        "batch_independence_cosine": batch_independence,
        "worst_texts": [],
    }
    quality = {"texts": 1, "data": "none", "variants": {"fp32": parity, "int8": parity}}
    (directory / QUALITY_FILE).write_text(json.dumps(quality), encoding="utf-8")
    write_manifest(directory)
    return directory


def write_manifest(directory: Path, **changes: Any) -> None:
    manifest = Manifest(
        name="words",
        head="embed",
        architecture=Architecture("words", 0, 0, DIMENSION, len(VOCABULARY), 32),
        dimension=DIMENSION,
        similarity="cosine",
        tokenizer=TokenizerRecord("tokenizer.json", MAX_TOKENS, 0),
        inputs=["input_ids", "attention_mask"],
        outputs=["sentence_embedding"],
        variants=[
            Variant(name, name, f"model.{name}.onnx", "onnxruntime", 23, {})
            for name in ("fp32", "int8")
        ],
        source={"checkpoint": "made by hand"},
        versions={"lanner": "0"},
        created="2026-01-01T00:00:00Z",
        prompts={"query": "a ", "none": ""},
    )
    files = {path.name: FileRecord.of(path) for path in sorted(directory.iterdir())}
    for name in (MANIFEST_FILE, "model.py"):
        files.pop(name, None)
    (directory / MANIFEST_FILE).write_bytes(replace(manifest, files=files, **changes).to_bytes())


def write_token_artifact(directory: Path, **changes: Any) -> None:
    """Make an artifact of this kind one of the head `tokens`, whose tokens are their rows.

    Queries are expanded by "f" to four tokens; documents have three at most, and "c" no vector.
    """
    late = LateInteraction(4, 3, 4, VOCABULARY["f"], False, [VOCABULARY["c"]], ["document"])
    for name in ("fp32", "int8"):
        write_token_graph(directory / f"model.{name}.onnx")
    own = {"head": "tokens", "similarity": "maxsim", "outputs": ["token_embeddings"], "prompts": {}}
    write_manifest(directory, **{**own, "late_interaction": late, **changes})


def write_token_graph(path: Path) -> None:
    import onnx  # noqa: PLC0415 (an extra)
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        # What is not read is answered all the same.
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Sign", ["mask"], ["sign"]),
        helper.make_node("Unsqueeze", ["sign", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["token_embeddings"]),
    ]
    shape = ["batch", "length"]
    answer: list[str | int | None] = ["batch", "length", DIMENSION]
    graph = helper.make_graph(
        nodes,
        "tokens",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("token_embeddings", TensorProto.FLOAT, answer)],
        [
            numpy_helper.from_array(_table(), "table"),
            numpy_helper.from_array(np.array([-1]), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)


def _table() -> Any:
    table = np.zeros((len(VOCABULARY), DIMENSION), np.float32)
    for word, row in VOCABULARY.items():
        if len(word) == 1:
            table[row, (row - 2) % DIMENSION] = 1
    table[VOCABULARY["[UNK]"], 3] = 0.5
    table[VOCABULARY["[PAD]"]] = 1e6  # so that a mask that is not applied shows at once
    return table


def write_mean_graph(path: Path) -> None:
    import onnx  # noqa: PLC0415 (an extra)
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["tokens", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "one"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["sentence_embedding"]),
    ]
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "words",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info(
                "sentence_embedding", TensorProto.FLOAT, ["batch", DIMENSION]
            )
        ],
        [
            numpy_helper.from_array(_table(), "table"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
