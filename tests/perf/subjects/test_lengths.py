from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest
from lanner.files.texts import shipped_sentences
from lanner.loading.load import open_tokenizer
from lanner.text.tokenization import TextTokenizer
from lanner.text.words import Vocabulary, WordTokenizer

pytest.importorskip("scipy", reason="needs lanner-bench")

from lanner_perf.subjects.lengths import make_length_texts


def tokenizer_of(artifact: Artifact) -> tuple[TextTokenizer, Manifest]:
    manifest = artifact.manifest
    return open_tokenizer(artifact.file(manifest.tokenizer.file), manifest), manifest


def test_every_text_has_exactly_its_tokens(tiny_artifact: Artifact) -> None:
    tokenizer, manifest = tokenizer_of(tiny_artifact)
    limit = manifest.tokenizer.max_tokens
    assert limit is not None
    made = make_length_texts(shipped_sentences(), tokenizer, limit, (8, limit, 2 * limit))
    assert list(made.texts) == [8, limit]
    for tokens, texts in made.texts.items():
        assert len(set(texts)) > 32
        assert {len(ids) for ids in tokenizer.encode(texts)} == {tokens}
    assert made.left_out == {2 * limit: f"the model cuts at {limit} tokens"}
    again = make_length_texts(shipped_sentences(), tokenizer, limit, (8,))
    assert again.texts[8] == made.texts[8]


def test_the_longest_are_not_cut(tiny_artifact: Artifact) -> None:
    _, manifest = tokenizer_of(tiny_artifact)
    from tokenizers import Tokenizer  # noqa: PLC0415

    limit = manifest.tokenizer.max_tokens
    assert limit is not None
    tokenizer, _ = tokenizer_of(tiny_artifact)
    whole = Tokenizer.from_file(str(tiny_artifact.file(manifest.tokenizer.file)))
    whole.no_truncation()
    whole.no_padding()
    for text in make_length_texts(shipped_sentences(), tokenizer, limit, (limit,)).texts[limit]:
        assert len(whole.encode(text).ids) == limit


def test_words_without_a_token_are_passed_over(tmp_path: Path) -> None:
    Vocabulary(["a", "b"]).write(tmp_path / "words.json")
    tokenizer = WordTokenizer(tmp_path / "words.json")
    made = make_length_texts(["a x", "x b b"], tokenizer, None, (3,))
    assert {len(text.split()) for text in made.texts[3]} == {3}
    assert {word for text in made.texts[3] for word in text.split()} == {"a", "b"}


def test_no_words_make_no_text(tmp_path: Path) -> None:
    Vocabulary(["a"]).write(tmp_path / "words.json")
    tokenizer = WordTokenizer(tmp_path / "words.json")
    for sentences in ([], ["x"]):
        made = make_length_texts(sentences, tokenizer, None, (3,))
        assert made.texts == {}
        assert made.left_out == {3: "the words of the workload make no text of that length"}


def test_special_tokens_leave_no_room(tiny_artifact: Artifact) -> None:
    tokenizer, _ = tokenizer_of(tiny_artifact)
    made = make_length_texts(shipped_sentences(), tokenizer, None, (2,))
    assert list(made.left_out) == [2]
