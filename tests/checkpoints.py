"""Tiny seeded random checkpoints, saved as their frameworks save them."""

import inspect
import json
from pathlib import Path
from typing import Any

SENTENCES = (
    "a man is playing a guitar",
    "someone plays a string instrument",
    "the train leaves at seven",
    "our train departs in the morning",
    "How do I reset my password?",
)
VOCABULARY_SIZE = 200
MAX_POSITIONS = 64


def word_piece_tokenizer(*, has_token_types: bool = True) -> Any:
    """A BERT tokenizer, trained on a few sentences."""
    from tokenizers import (  # noqa: PLC0415
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 (not a secret)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",  # noqa: S106
        pad_token="[PAD]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        mask_token="[MASK]",  # noqa: S106
        model_max_length=MAX_POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"]
        if has_token_types
        else ["input_ids", "attention_mask"],
    )


def bert_model(seed: int = 0, **overrides: Any) -> Any:
    import torch  # noqa: PLC0415
    from transformers import BertConfig, BertModel  # noqa: PLC0415

    torch.manual_seed(seed)
    config = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": MAX_POSITIONS,
        # The usual 0.02 gives activations so small that nothing would differ.
        "initializer_range": 0.2,
    }
    return BertModel(BertConfig(**{**config, **overrides})).eval()


def plain_checkpoint(directory: Path, model: Any = None) -> Path:
    """A transformers checkpoint without sentence-transformers modules."""
    model = model or bert_model()
    has_token_types = "token_type_ids" in inspect.signature(model.forward).parameters
    model.save_pretrained(directory)
    word_piece_tokenizer(has_token_types=has_token_types).save_pretrained(directory)
    return directory


def bert_checkpoint(
    directory: Path,
    *,
    pooling: str = "mean",
    dense: bool = True,
    normalize: bool = True,
    max_tokens: int = 16,
    prompts: dict[str, str] | None = None,
) -> Path:
    """A sentence-transformers checkpoint, saved by sentence-transformers itself."""
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer import modules as models  # noqa: PLC0415

    plain = plain_checkpoint(directory.with_name(directory.name + "-plain"))
    torch.manual_seed(1)
    transformer = models.Transformer(str(plain), max_seq_length=max_tokens)
    modules = [transformer, models.Pooling(32, pooling_mode=pooling)]
    if dense:
        modules.append(models.Dense(32, 12, activation_function=torch.nn.Tanh()))
    if normalize:
        modules.append(models.Normalize())
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(directory))
    return directory


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def word_level_tokenizer(words: list[str]) -> Any:
    """A tokenizer of whole words: "[UNK]" is 0, and the words follow."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415

    vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def word_rows(directory: Path, table: Any, *, dtype: str = "<f4", offset_bytes: int = 0) -> Any:
    """A file of rows, as it lies on the disk."""
    import numpy as np  # noqa: PLC0415

    from lanner_export.matrix_file import MatrixFile  # noqa: PLC0415

    path = directory / "rows"
    path.write_bytes(bytes(offset_bytes) + np.asarray(table).astype(dtype).tobytes())
    return MatrixFile(path, table.shape, np.dtype(dtype), offset_bytes)
