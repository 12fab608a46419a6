"""The matrix of exports to test: every architecture with every head at every precision.

`tests/end_to_end/test_architectures.py` exports each cell, and `docs/support.md` is this matrix as
a table:

    python -m tests.support.architectures > docs/support.md
"""

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.support.checkpoints import (
    MAX_POSITIONS,
    VOCABULARY_SIZE,
    byte_level_tokenizer,
    unigram_tokenizer,
    word_piece_tokenizer,
)

PRECISIONS = ("fp32", "int8", "fp16", "bf16")
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
#: The transformers class of each head, and its number of labels.
CLASS_OF_HEAD = {
    "embed": ("Model", 0),
    "score": ("ForSequenceClassification", 1),
    "classify": ("ForSequenceClassification", 3),
    "tag": ("ForTokenClassification", len(LABELS)),
    "sparse": ("ForMaskedLM", 0),
    "tokens": ("Model", 0),
}


@dataclass(frozen=True)
class Row:
    """One architecture.

    Attributes:
        prefix: The beginning of the names of its classes in transformers.
        config: The configuration of its tiny checkpoint.
        fused: The operators that are fused with both generations of transformers.
        tokenizer: Makes its tokenizer, for the words of a few sentences.
        heads: The heads for which transformers has classes.
        has_types: True if the token types of a pair reach the model.
        since: The first generation of transformers that has it.
        is_rare: True if make test-all exports its vectors alone, in fp32 and int8; make test-cells
            exports the rest.
    """

    prefix: str
    config: dict[str, Any]
    fused: frozenset[str] = frozenset({"Attention", "Gelu", "LayerNormalization"})
    tokenizer: Callable[[], Any] = word_piece_tokenizer
    heads: tuple[str, ...] = tuple(CLASS_OF_HEAD)
    has_types: bool = False
    since: str = "4.57"
    is_rare: bool = False


def _without_types() -> Any:
    return word_piece_tokenizer(has_token_types=False)


_SIZES = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": MAX_POSITIONS,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
# Positions count from after the padding id, so two of them are never used.
_ROBERTA = {**_SIZES, "max_position_embeddings": MAX_POSITIONS + 2, "pad_token_id": 1}
_BYTE_LEVEL = {**_ROBERTA, "vocab_size": VOCABULARY_SIZE + 140}
_DISTILBERT = {
    "vocab_size": VOCABULARY_SIZE,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": MAX_POSITIONS,
    "initializer_range": 0.2,
}
_DEBERTA = {
    **_SIZES,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
# The window is shorter than the longest text, so that it matters.
_MODERNBERT = {
    **_SIZES,
    "vocab_size": VOCABULARY_SIZE + 140,
    "local_attention": 8,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "cls_token_id": 0,
    "sep_token_id": 2,
}
_SMALL = {"embedding_size": 16}
_MOBILEBERT = {**_SMALL, "intra_bottleneck_size": 16, "true_hidden_size": 16}
# A group of channels has 32, which are enough for int8.
_SQUEEZEBERT = {
    "hidden_size": 64,
    "embedding_size": 64,
    **{f"{place}_groups": 2 for place in ("q", "k", "v", "intermediate", "output")},
}
_DEBERTA_1 = {**_SIZES, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
_REMBERT = {"input_embedding_size": 16, "output_embedding_size": 48}
# Two heads of keys have 32 columns, which are enough for int8.
_EUROBERT = {**_MODERNBERT, "num_key_value_heads": 2, "head_dim": 16}
_T5 = {
    "vocab_size": VOCABULARY_SIZE,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    # Shorter than the longest text, so that its buckets end.
    "relative_attention_max_distance": 12,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
_GEMMA = {
    **_MODERNBERT,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 16,
    "use_bidirectional_attention": True,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
_NO_ATTENTION = frozenset({"Gelu", "LayerNormalization"})
_NO_GELU = frozenset({"Attention", "LayerNormalization"})
_ATTENTION = frozenset({"Attention"})
_OF_VECTORS = ("embed", "tokens")


def _rare(rows: dict[str, Row]) -> dict[str, Row]:
    return {name: replace(row, is_rare=True) for name, row in rows.items()}


MATRIX: dict[str, Row] = {
    "BERT": Row("Bert", _SIZES, has_types=True),
    "RoBERTa": Row("Roberta", _BYTE_LEVEL, tokenizer=byte_level_tokenizer),
    "XLM-RoBERTa": Row("XLMRoberta", _ROBERTA, tokenizer=unigram_tokenizer),
    "CamemBERT": Row("Camembert", _ROBERTA, tokenizer=unigram_tokenizer),
    "DistilBERT": Row("DistilBert", _DISTILBERT, tokenizer=_without_types),
    "ELECTRA": Row("Electra", {**_SIZES, **_SMALL}, _NO_ATTENTION, has_types=True),
    "ALBERT": Row("Albert", {**_SIZES, **_SMALL}, _NO_GELU, has_types=True),
    "MPNet": Row(
        "MPNet",
        {**_ROBERTA, "pad_token_id": 1},
        _NO_ATTENTION,
        tokenizer=unigram_tokenizer,
    ),
    "MobileBERT": Row("MobileBert", {**_SIZES, **_MOBILEBERT}, frozenset(), has_types=True),
    "ModernBERT": Row("ModernBert", _MODERNBERT, tokenizer=byte_level_tokenizer),
    "NomicBERT": Row("NomicBert", _SIZES, _NO_GELU, has_types=True, since="5"),
    "DeBERTa": Row("DebertaV2", _DEBERTA, _NO_ATTENTION),
    **_rare(
        {
            "DeBERTa v1": Row("Deberta", _DEBERTA_1, _NO_ATTENTION),
            "ERNIE": Row("Ernie", {**_SIZES, "use_task_id": True}, _NO_ATTENTION, has_types=True),
            "RoFormer": Row("RoFormer", {**_SIZES, **_SMALL}, _NO_ATTENTION, has_types=True),
            "Data2Vec": Row("Data2VecText", _BYTE_LEVEL, _NO_ATTENTION, byte_level_tokenizer),
            "MegatronBERT": Row("MegatronBert", _SIZES, _NO_ATTENTION, has_types=True),
            "RoBERTa-PreLayerNorm": Row(
                "RobertaPreLayerNorm", _BYTE_LEVEL, _NO_ATTENTION, byte_level_tokenizer
            ),
            "RemBERT": Row("RemBert", {**_SIZES, **_REMBERT}, _NO_ATTENTION, has_types=True),
            "XLM-RoBERTa-XL": Row("XLMRobertaXL", _ROBERTA, tokenizer=unigram_tokenizer),
            "SqueezeBERT": Row(
                "SqueezeBert", {**_SIZES, **_SQUEEZEBERT}, _NO_ATTENTION, has_types=True
            ),
            "EuroBERT": Row("EuroBert", _EUROBERT, _ATTENTION, byte_level_tokenizer, since="5"),
            "Jina v3": Row("JinaEmbeddingsV3", _ROBERTA, tokenizer=unigram_tokenizer, since="5"),
            "T5": Row("T5", _T5, frozenset(), unigram_tokenizer, _OF_VECTORS),
            "EmbeddingGemma": Row(
                "Gemma3Text",
                _GEMMA,
                frozenset({"Attention", "Gelu"}),
                byte_level_tokenizer,
                _OF_VECTORS,
            ),
        }
    ),
}

#: The architectures whose encoders the native engine supports.
NATIVE = (
    *("BERT", "RoBERTa", "XLM-RoBERTa", "CamemBERT", "DistilBERT", "ELECTRA", "ALBERT", "MPNet"),
    *("ModernBERT", "NomicBERT", "ERNIE", "RoFormer", "Data2Vec", "MegatronBERT"),
    *("RoBERTa-PreLayerNorm", "RemBERT", "XLM-RoBERTa-XL", "EuroBERT", "Jina v3", "T5"),
)

#: The cells that are enough for a change: each head, kind of tokenizer and kind of position once.
#: Of the other cells, two of each architecture are slow tests, and make test-cells runs them all.
CHOSEN = {
    ("BERT", "embed"),
    ("XLM-RoBERTa", "classify"),
    ("MPNet", "tag"),
    ("ModernBERT", "score"),
    ("DistilBERT", "sparse"),
    ("RoBERTa", "tokens"),
}


def cell_cases(names: Container[str] = MATRIX, without: str = "") -> list[Any]:
    """Return every cell as a case of a test.

    Args:
        names: The architectures.
        without: A head to leave out.
    """
    cases = []
    for place, (name, row) in enumerate(MATRIX.items()):
        others = [head for head in row.heads if head != "embed"]
        standing = {(name, "embed"), (name, others[place % len(others)])}
        if row.is_rare:
            standing = set()
        for cell in ((name, head) for head in row.heads if name in names and head != without):
            marks = [] if cell in CHOSEN else [pytest.mark.slow]
            if marks and cell not in standing:
                marks.append(pytest.mark.cell)
            cases.append(pytest.param(*cell, marks=marks))
    return cases


def encoder_class(prefix: str) -> Any:
    """Return the class of transformers of an encoder alone."""
    import transformers  # noqa: PLC0415

    own = getattr(transformers, f"{prefix}EncoderModel", None)  # T5 without its decoder
    return own or getattr(transformers, f"{prefix}Model")


def config_of(name: str, head: str) -> dict[str, Any]:
    """Return the configuration of a cell's tiny checkpoint."""
    config = dict(MATRIX[name].config)
    _, labels = CLASS_OF_HEAD[head]
    if labels:
        names = LABELS if head == "tag" else ("yes", "no", "maybe")
        config["id2label"] = dict(enumerate(names[:labels]))
        config["label2id"] = {label: number for number, label in enumerate(names[:labels])}
    return config


def table() -> str:
    """Return the matrix as Markdown."""
    header = ["architecture", *CLASS_OF_HEAD, "attention", "native engine", "transformers"]
    lines = [_line(header), _line(["---"] * len(header))]
    for name, row in MATRIX.items():
        precisions = ", ".join(PRECISIONS)
        lines.append(
            _line(
                [
                    name,
                    *(precisions if head in row.heads else "-" for head in CLASS_OF_HEAD),
                    "one operator" if "Attention" in row.fused else "as its parts",
                    "fp32, int8" if name in NATIVE else "-",
                    "4.57 and 5" if row.since == "4.57" else row.since,
                ]
            )
        )
    return "\n".join(lines)


def _line(cells_of_line: list[str]) -> str:
    return f"| {' | '.join(cells_of_line)} |"


_PAGE = """\
# What is supported

Each cell of the table is a test. The test makes a tiny random checkpoint of that architecture,
exports it for that head, and compares the answers at each precision with those of the
checkpoint's own framework, with each generation of transformers that is named. The table is
written from the matrix of those tests, and a test fails if the two differ. Every change runs two
cells of each row up to DeBERTa, and the vectors of the rarer rows below in fp32 and int8;
`make test-cells` runs all others before a release.

- fp32 reproduces vectors within a cosine of 0.99999, and logits and weights of terms within 1e-4.
- `sparse` is made of the checkpoint's masked language model (`--head sparse`), or of a SPLADE
  model as sentence-transformers saves it.
- `tokens` is made of the checkpoint's encoder (`--head tokens`), or of a ColBERT model as PyLate or
  sentence-transformers saves it, which needs sentence-transformers 6.
- T5 stands for the encoders of sentence-t5 and GTR, and DeBERTa for its versions 2 and 3. Of a
  T5 the decoder is left out. A Gemma is exported if it reads in both directions, as EmbeddingGemma
  does.
- The export of a real checkpoint measures what int8 costs it; the quality card shows it.
- fp16 and bf16 are graphs for GPUs. No GPU has run them yet: the tests round as a GPU rounds,
  after each operator.
- "Native engine" names the precisions that `engine="native"` runs, for every head but `sparse`.
  Its answers are compared with ONNX Runtime's. `engine="auto"` takes it for int8 if it is
  installed, and `engine="native-bf16"` runs fp32 with products in bf16; see the
  [guide](guide/native.md).
- Attention "as its parts" is also right, but slower than as one operator. `lanner inspect`
  shows the fused operators.

{table}

Word vectors (word2vec, GloVe and FastText files, KeyedVectors of gensim, model2vec, and
StaticEmbedding and WordEmbeddings of sentence-transformers) have the head `embed`, in fp32 and
int8.
"""


def page() -> str:
    """Return the text of docs/support.md."""
    return _PAGE.format(table=table())


if __name__ == "__main__":
    print(page(), end="")
