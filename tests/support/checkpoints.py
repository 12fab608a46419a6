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
#: Words up to this length are one piece; longer words are two.
_WHOLE_WORD = 6


def word_piece_tokenizer(*, has_token_types: bool = True) -> Any:
    """Return a BERT tokenizer for the words of a few sentences.

    Long words are two pieces. The tokenizer is not trained: the library's trainer breaks ties
    differently in each process, and the random weights belong to token ids.
    """
    from tokenizers import (  # noqa: PLC0415
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    pieces = _letters() | {f"##{letter}" for letter in _letters()}
    for word in _words():
        pieces |= set(_pieces(word, "##"))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: number for number, piece in enumerate(special + sorted(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 (no secret)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
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


def _words() -> set[str]:
    return {word.strip("?").lower() for sentence in SENTENCES for word in sentence.split()}


def _letters() -> set[str]:
    return set("".join(_words())) | set("?!.,")


def _pieces(word: str, mark: str) -> list[str]:
    return [word] if len(word) <= _WHOLE_WORD else [word[:3], mark + word[3:]]


def byte_level_tokenizer() -> Any:
    """Return a tokenizer of RoBERTa's kind: byte-level BPE, padding with id 1."""
    from tokenizers import (  # noqa: PLC0415
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE + 140,  # the bytes are 256 of them
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return _roberta_like(tokenizer)


def unigram_tokenizer() -> Any:
    """Return a tokenizer of XLM-RoBERTa's kind: SentencePiece's pieces, padding with id 1."""
    from tokenizers import (  # noqa: PLC0415
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    words, letters = _words(), _letters()
    # A longer piece is likelier than its letters; see `word_piece_tokenizer`.
    scores = dict.fromkeys(letters | {"\u2581"}, -10.0)
    for word in words:
        for piece in _pieces("\u2581" + word, ""):
            scores[piece] = -5.0
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(special + sorted(scores.items()), unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return _roberta_like(tokenizer)


def _roberta_like(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        mask_token="<mask>",  # noqa: S106
        cls_token="<s>",  # noqa: S106
        sep_token="</s>",  # noqa: S106
        model_max_length=MAX_POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
    )


def bert_model(seed: int = 0, *, kind: str = "BertModel", **overrides: Any) -> Any:
    """Return a random BERT; `kind` may be a class with a head, which needs its `id2label`."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    torch.manual_seed(seed)
    config = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": MAX_POSITIONS,
        # With the usual 0.02, activations are so small that nothing would differ.
        "initializer_range": 0.2,
    }
    return getattr(transformers, kind)(transformers.BertConfig(**{**config, **overrides})).eval()


def plain_checkpoint(directory: Path, model: Any = None, tokenizer: Any = None) -> Path:
    """Write a transformers checkpoint without sentence-transformers modules."""
    model = model or bert_model()
    if tokenizer is None:
        has_token_types = "token_type_ids" in inspect.signature(model.forward).parameters
        tokenizer = word_piece_tokenizer(has_token_types=has_token_types)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def bert_checkpoint(
    directory: Path,
    *,
    pooling: str | tuple[str, ...] = "mean",
    include_prompt: bool = True,
    dense: bool = True,
    layer_norm: bool = False,
    normalize: bool = True,
    max_tokens: int = 16,
    tokenizer: Any = None,
    **options: Any,
) -> Path:
    """Write a sentence-transformers checkpoint, saved by sentence-transformers itself."""
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer import modules as models  # noqa: PLC0415

    plain = plain_checkpoint(directory.with_name(directory.name + "-plain"), None, tokenizer)
    torch.manual_seed(1)
    transformer = models.Transformer(str(plain), max_seq_length=max_tokens)
    pool = models.Pooling(32, pooling_mode=pooling, include_prompt=include_prompt)
    modules = [transformer, pool]
    width = 32 if isinstance(pooling, str) else 32 * len(pooling)
    if dense:
        modules.append(models.Dense(width, 12, activation_function=torch.nn.Tanh()))
        width = 12
    if layer_norm:
        modules.append(models.LayerNorm(width))
        torch.nn.init.normal_(modules[-1].norm.weight)
    if normalize:
        modules.append(models.Normalize())
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(directory))
    return directory


def sparse_checkpoint(
    directory: Path,
    *,
    pooling: str = "max",
    activation: str = "relu",
    max_tokens: int = 16,
    model: Any = None,
    **options: Any,
) -> Path:
    """A SPLADE checkpoint, saved by sentence-transformers itself."""
    from sentence_transformers import SparseEncoder  # noqa: PLC0415
    from sentence_transformers.sparse_encoder import modules  # noqa: PLC0415

    model = model or bert_model(kind="BertForMaskedLM")
    plain = plain_checkpoint(directory.with_name(directory.name + "-plain"), model)
    parts = [
        modules.Transformer(str(plain), transformer_task="fill-mask", max_seq_length=max_tokens),
        modules.SpladePooling(pooling_strategy=pooling, activation_function=activation),
    ]
    SparseEncoder(modules=parts, device="cpu", **options).save(str(directory))
    return directory


def inference_free_checkpoint(directory: Path, **options: Any) -> Path:
    """A sparse encoder that looks queries up in a table, saved by sentence-transformers itself."""
    import torch  # noqa: PLC0415
    from sentence_transformers import SparseEncoder  # noqa: PLC0415
    from sentence_transformers.sparse_encoder import modules  # noqa: PLC0415

    plain = plain_checkpoint(
        directory.with_name(directory.name + "-plain"), bert_model(kind="BertForMaskedLM")
    )
    transformer = modules.Transformer(str(plain), transformer_task="fill-mask", max_seq_length=16)
    torch.manual_seed(2)
    weight = torch.rand(len(transformer.tokenizer))
    weight[5:20] = 0
    router = modules.Router.for_query_document(
        query_modules=[modules.SparseStaticEmbedding(transformer.tokenizer, weight)],
        document_modules=[transformer, modules.SpladePooling("max")],
    )
    SparseEncoder(modules=[router], device="cpu", **options).save(str(directory))
    return directory


def colbert_checkpoint(
    directory: Path,
    *,
    prompts: dict[str, str] | None = None,
    similarity: str = "maxsim",
    strategy: str | None = "fixed",
    attends: bool = False,
    skips_in: tuple[str, ...] = ("document",),
    query_length: int | None = None,
) -> Path:
    """An encoder of tokens, saved by sentence-transformers' MultiVectorEncoder (from version 6 on).

    Queries are expanded to 12 tokens, documents have 16 at most, and "?" and "." have no vector.
    """
    import torch  # noqa: PLC0415
    from sentence_transformers import MultiVectorEncoder  # noqa: PLC0415
    from sentence_transformers.base.modules import Dense, Normalize, Transformer  # noqa: PLC0415
    from sentence_transformers.multi_vector_encoder.modules import (  # noqa: PLC0415
        MultiVectorMask,
    )

    plain = plain_checkpoint(directory.with_name(directory.name + "-plain"))
    expansion = {"strategy": strategy, "attend": attends, "length": 12} if strategy else None
    torch.manual_seed(1)
    modules = [
        Transformer(
            str(plain),
            max_seq_length=32,
            document_length=16,
            query_length=query_length,
            query_expansion=expansion,
        ),
        Dense(
            32,
            12,
            bias=False,
            activation_function=torch.nn.Identity(),
            module_input_name="token_embeddings",
        ),
        MultiVectorMask(skiplist_words=["?", "."], skiplist_tasks=list(skips_in)),
        Normalize(module_input_name="token_embeddings"),
    ]
    MultiVectorEncoder(
        modules=modules,
        device="cpu",
        prompts={"query": "a man ", "document": "the "} if prompts is None else prompts,
        similarity_fn_name=similarity,
    ).save_pretrained(str(directory))
    return directory


def cross_encoder_checkpoint(directory: Path, *, labels: int = 1, **options: Any) -> Path:
    """Write a cross-encoder, saved by sentence-transformers itself."""
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    names = dict(enumerate([f"LABEL_{number}" for number in range(labels)]))
    model = bert_model(kind="BertForSequenceClassification", id2label=names)
    plain = plain_checkpoint(directory.with_name(directory.name + "-plain"), model)
    CrossEncoder(str(plain), device="cpu", **options).save_pretrained(str(directory))
    return directory


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def word_level_tokenizer(words: list[str]) -> Any:
    """Return a tokenizer of whole words: "[UNK]" is 0, and the words follow."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415

    vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def word_rows(directory: Path, table: Any, *, dtype: str = "<f4", offset_bytes: int = 0) -> Any:
    """Write rows to a file, and return the file as a matrix."""
    import numpy as np  # noqa: PLC0415

    from lanner_export.graph.matrix_file import MatrixFile  # noqa: PLC0415

    path = directory / "rows"
    path.write_bytes(bytes(offset_bytes) + np.asarray(table).astype(dtype).tobytes())
    return MatrixFile(path, table.shape, np.dtype(dtype), offset_bytes)
