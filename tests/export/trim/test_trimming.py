import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES, bert_checkpoint, bert_model, plain_checkpoint

from lanner.artifact.artifact import Artifact
from lanner.commands.inspect import describe
from lanner.errors import CheckpointError, InputError, UnsupportedError
from lanner.loading.load import load

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.export import export
from lanner_export.loading import load_checkpoint
from lanner_export.trim.trimming import Corpus, Trimming

CORPUS = Corpus("corpus.txt", list(SENTENCES[:2]))
PAIRS = list(zip(SENTENCES[:2], SENTENCES[1::-1], strict=True))


def write_corpus(directory: Path) -> Path:
    path = directory / "corpus.txt"
    path.write_text("\n".join([*CORPUS.texts, "", "  "]) + "\n")
    return path


def test_a_corpus_is_the_texts_of_a_file(tmp_path: Path) -> None:
    assert Corpus.read(write_corpus(tmp_path)) == CORPUS
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a man"}\n\n"plays"\n')
    assert Corpus.read(rows) == Corpus("rows.jsonl", ["a man", "plays"])


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_a_corpus_without_a_text_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(
        InputError, match=r"empty.txt holds no text to take a vocabulary from: give"
    ):
        Corpus.read(tmp_path / "empty.txt")


def test_a_corpus_of_half_characters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_text('"whole"\n"\\ud800"\n')
    with pytest.raises(InputError, match=r"half.jsonl, line 2: 'text' is not valid Unicode"):
        Corpus.read(tmp_path / "half.jsonl")


def test_an_artifact_of_what_is_left(tiny_checkpoint: Path, tmp_path: Path) -> None:
    artifact = export(
        tiny_checkpoint,
        tmp_path / "small.lanner",
        keep_layers=[1],
        vocabulary_from=write_corpus(tmp_path),
        truncate_dim=8,
        precisions=["fp32"],
    )
    manifest = Artifact.open(artifact.directory).manifest
    tokens = manifest.architecture.vocabulary_size
    assert manifest.trimming == {
        "layers": {"kept": [1], "of": 2},
        "tokens": {"kept": tokens, "of": 200, "corpus": "corpus.txt"},
        "dimensions": {"kept": 8, "of": 12},
    }
    assert (manifest.architecture.layers, manifest.dimension) == (1, 8)
    written = json.loads(artifact.file("tokenizer.json").read_text(encoding="utf-8"))
    assert len(written["model"]["vocab"]) == tokens < 77
    kept = (
        f"layers 1 (of 2); {tokens} of 200 tokens (those of corpus.txt, and single characters); "
        "the first 8 of 12 dimensions"
    )
    assert f"\n  trimmed to  {kept}\n" in describe(artifact, artifact.quality())
    readme = artifact.file("README.md").read_text(encoding="utf-8")
    assert f"\n- Trimmed to {kept}.\n" in readme
    assert load(artifact.directory).encode("our train").shape == (8,)


def test_nothing_is_said_of_what_is_whole(tiny_artifact: Artifact) -> None:
    assert tiny_artifact.manifest.trimming == {}
    assert "rimmed" not in describe(tiny_artifact, tiny_artifact.quality())
    assert "rimmed" not in tiny_artifact.file("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("head", ["embed", "score", "classify", "tag"])
def test_the_corpus_is_answered_as_by_the_source(head: str, request: pytest.FixtureRequest) -> None:
    name = {"embed": "tiny", "score": "scorer", "classify": "classifier", "tag": "tagger"}[head]
    checkpoint = str(request.getfixturevalue(f"{name}_checkpoint"))
    whole = load_checkpoint(checkpoint)
    assert whole.source_reference is None
    loaded = load_checkpoint(checkpoint, trimming=Trimming(corpus=CORPUS))
    assert (loaded.head, list(loaded.trimming)) == (head, ["tokens"])
    assert loaded.source_reference is not None
    inputs = PAIRS if head == "score" else CORPUS.texts
    expected = whole.reference(inputs)
    for reference in (loaded.reference, loaded.source_reference):
        for found, row in zip(reference(inputs), expected, strict=True):
            np.testing.assert_allclose(found, row, rtol=0, atol=1e-5)
    # Only the source knows the words of other texts.
    others = [(text, text) for text in SENTENCES[2:]] if head == "score" else SENTENCES[2:]
    unlike = zip(loaded.reference(others), whole.reference(others), strict=True)
    assert all(a.shape != b.shape or np.abs(a - b).max() > 1e-3 for a, b in unlike)
    for found, row in zip(loaded.source_reference(others), whole.reference(others), strict=True):
        np.testing.assert_array_equal(found, row)


def test_the_source_of_fewer_dimensions_has_all_of_them(tiny_checkpoint: Path) -> None:
    loaded = load_checkpoint(str(tiny_checkpoint), truncate_dim=5, max_tokens=8)
    assert loaded.trimming == {"dimensions": {"kept": 5, "of": 12}}
    assert loaded.source_reference is not None
    text = " ".join(SENTENCES)
    expected = load_checkpoint(str(tiny_checkpoint), max_tokens=8).reference([text])
    np.testing.assert_array_equal(loaded.source_reference([text]), expected)


def test_the_vocabulary_of_the_prompts_is_kept(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "prompts", prompts={"query": "seven trains: ", "none": ""})
    loaded = load_checkpoint(str(path), trimming=Trimming(corpus=CORPUS))
    texts = ["seven trains: " + text for text in CORPUS.texts]
    np.testing.assert_allclose(
        loaded.reference(texts), load_checkpoint(str(path)).reference(texts), rtol=0, atol=1e-5
    )


def test_what_leaves_nothing_out_is_not_trimming(tiny_checkpoint: Path) -> None:
    loaded = load_checkpoint(str(tiny_checkpoint), truncate_dim=12, trimming=Trimming(layers=2))
    assert loaded.trimming == {}
    assert loaded.source_reference is None


def test_what_cannot_be_trimmed_leaves_nothing_behind(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    corpus = write_corpus(tmp_path)
    before = sorted(tmp_path.iterdir())
    target = tmp_path / "x.lanner"
    with pytest.raises(InputError, match=r"empty.txt holds no text to take a vocabulary from"):
        export(tiny_checkpoint, target, vocabulary_from=tmp_path / "empty.txt")
    with pytest.raises(InputError, match=r"^there is no file .*gone.txt: check the path$"):
        export(tiny_checkpoint, target, vocabulary_from=tmp_path / "gone.txt")
    with pytest.raises(
        UnsupportedError, match=r"^--keep-layers must be from 1 to 2 layers for .*3$"
    ):
        export(tiny_checkpoint, target, keep_layers=3)
    bare = plain_checkpoint(tmp_path.parent / "bare", bert_model(vocab_size=76))
    with pytest.raises(CheckpointError, match=r"^trimming the vocabulary of .*bare would drop '"):
        export(bare, target, vocabulary_from=corpus)
    assert sorted(tmp_path.iterdir()) == before
