from typing import Any

import numpy as np
import pytest
from tests.support.architectures import MATRIX, config_of, encoder_class
from tests.support.checkpoints import (
    MAX_POSITIONS,
    SENTENCES,
    bert_model,
    word_level_tokenizer,
    word_piece_tokenizer,
)
from tokenizers import models

from lanner.errors import CheckpointError, UnsupportedError

torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

from lanner_export.checkpoint.weights import require_row_for_each_token  # noqa: E402
from lanner_export.trim.vocabulary import trim_vocabulary  # noqa: E402

CORPUS = [*SENTENCES[:2], "the trains ☃ leave"]


def trim(encoder: Any, tokenizer: Any, texts: list[str] = CORPUS) -> tuple[int, int]:
    return trim_vocabulary(encoder, tokenizer, texts, max_tokens=MAX_POSITIONS, checkpoint="it")


def hidden(encoder: Any, tokenizer: Any, texts: list[str]) -> Any:
    """Return the vectors of a padded batch."""
    features = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        vectors = encoder(features["input_ids"], attention_mask=features["attention_mask"])[0]
    return vectors[features["attention_mask"].bool()].numpy()


@pytest.mark.parametrize("name", MATRIX)
def test_the_corpus_gets_the_vectors_that_it_had(name: str) -> None:
    row = MATRIX[name]
    if row.since == "5" and transformers.__version__.startswith("4."):
        pytest.skip(f"transformers {transformers.__version__} does not carry {name}")
    torch.manual_seed(0)
    config = getattr(transformers, f"{row.prefix}Config")(**config_of(name, "embed"))
    encoder = encoder_class(row.prefix)(config).eval()
    tokenizer = row.tokenizer()
    before = hidden(encoder, tokenizer, CORPUS)
    other = hidden(encoder, tokenizer, ["reset"])
    kept, rows = trim(encoder, tokenizer)
    assert rows == row.config["vocab_size"]
    assert kept == len(tokenizer) == encoder.config.vocab_size < rows
    assert encoder.get_input_embeddings().weight.shape[0] == kept
    np.testing.assert_allclose(hidden(encoder, tokenizer, CORPUS), before, rtol=0, atol=1e-5)
    assert len(hidden(encoder, tokenizer, ["reset"])) > len(other)  # spelt out


def word_tokenizer(words: str) -> Any:
    """Return a tokenizer of whole words, with "<pad>" and "<unk>" among them."""
    tokenizer = word_level_tokenizer([])
    vocabulary = {word: number for number, word in enumerate(words.split())}
    tokenizer.model = models.WordLevel(vocabulary, unk_token="<unk>")  # noqa: S106 (no secret)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    )


def test_the_configuration_knows_the_new_ids() -> None:
    encoder = bert_model(vocab_size=6, pad_token_id=5, bos_token_id=1, eos_token_id=4)
    tokenizer = word_tokenizer("a cat sat on <unk> <pad>")
    assert trim(encoder, tokenizer, ["sat on"]) == (4, 6)
    config = encoder.config
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["sat", "on", "<unk>", "<pad>"]
    assert config.pad_token_id == tokenizer.pad_token_id == 3
    assert encoder.get_input_embeddings().padding_idx == 3
    assert (config.bos_token_id, config.eos_token_id) == (None, 2)  # "cat" is gone


def test_positions_that_begin_behind_the_padding_id_stay() -> None:
    config = {**config_of("RoBERTa", "embed"), "vocab_size": 7}
    torch.manual_seed(0)
    encoder = transformers.RobertaModel(transformers.RobertaConfig(**config)).eval()
    tokenizer = word_tokenizer("unused <pad> <unk> a cat sat on")
    texts = ["sat on sat", "on"]
    before = hidden(encoder, tokenizer, texts)
    assert trim(encoder, tokenizer, texts) == (5, 7)
    assert encoder.embeddings.position_embeddings.padding_idx == tokenizer.pad_token_id == 1
    np.testing.assert_allclose(hidden(encoder, tokenizer, texts), before, rtol=0, atol=1e-6)


def test_a_special_token_without_a_row_would_be_dropped() -> None:
    tokenizer = word_piece_tokenizer()
    encoder = bert_model(vocab_size=len(tokenizer))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<entity>"]})
    with pytest.raises(
        CheckpointError,
        match=r"^trimming the vocabulary of it would drop '<entity>', token 77 of its to",
    ):
        trim(encoder, tokenizer)


def test_token_ids_that_are_read_otherwise_are_refused() -> None:
    # ESM masks the token whose id its embeddings remember.
    config = {**config_of("BERT", "embed"), "pad_token_id": 1, "token_dropout": True}
    tokenizer = word_tokenizer("unused <pad> <unk> a cat sat on")
    config = transformers.EsmConfig(**{**config, "vocab_size": 7, "mask_token_id": 5})
    encoder = transformers.EsmModel(config).eval()
    with pytest.raises(
        UnsupportedError,
        match=r"^it is a esm model, which uses token ids for more than rows of a ta",
    ):
        trim(encoder, tokenizer, ["a sat on"])


class Hashing(torch.nn.Module):  # type: ignore[misc, name-defined]
    """An encoder that looks tokens up in several tables by their hashes, as CANINE does."""

    def get_input_embeddings(self) -> Any:
        return torch.nn.ModuleList([torch.nn.Embedding(4, 2)] * 2)


def test_tokens_without_a_table_of_their_own_are_refused() -> None:
    message = r"^it has no plain table of its tokens"
    with pytest.raises(UnsupportedError, match=rf"{message}: leave --vocabulary-from out$"):
        trim(Hashing(), word_tokenizer("a cat sat on <unk> <pad>"))
    with pytest.raises(UnsupportedError, match=rf"{message}, which Lanner needs$"):
        require_row_for_each_token(Hashing(), word_piece_tokenizer().backend_tokenizer, "it")
