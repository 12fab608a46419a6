"""The worker: record batches of texts in, the same rows with answers out."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra 'parquet'")
import pyarrow as pa
from tests.support.word_artifact import write_manifest, write_token_artifact

import lanner
from lanner.artifact.artifact import Artifact
from lanner.distributed import ArrowEncoder
from lanner.errors import ArtifactError, InputError

#: The words of `tests.support.word_artifact`.
ROWS = [(1, "a b"), (2, "c"), (3, "b"), (4, "a a b")]
VECTORS = np.array([[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [2 / 3, 1 / 3, 0, 0]])


def table(rows: Any = ROWS) -> Any:
    columns = {"id": [row[0] for row in rows], "text": [row[1] for row in rows]}
    return pa.table(columns, schema=pa.schema([("id", pa.int64()), ("text", pa.string())]))


def test_a_table_gets_a_column_of_vectors(word_artifact: Path) -> None:
    encoder = ArrowEncoder(word_artifact, variant="fp32", threads=1)
    found = encoder(table())
    assert found.schema.field("embedding").type == pa.list_(pa.float32(), 4)
    assert found.schema == encoder.schema(table().schema)
    assert found.column("id").to_pylist() == [1, 2, 3, 4]
    np.testing.assert_allclose(np.array(found.column("embedding").to_pylist()), VECTORS, rtol=1e-6)
    assert encoder(table([])).num_rows == 0
    batch = table().to_batches()[0]
    assert encoder(batch).num_rows == 4


def test_batches_keep_their_rows_and_their_order(word_artifact: Path) -> None:
    encoder = ArrowEncoder(word_artifact, variant="fp32", threads=1, window_rows=3, keep=["id"])
    given = [*table().to_batches(max_chunksize=1), *table([]).to_batches(), *table().to_batches()]
    found = list(encoder(iter(given)))
    # A batch that is larger than a window comes in parts.
    assert [batch.num_rows for batch in found] == [1, 1, 1, 1, 3, 1]
    assert [batch.column_names for batch in found] == [["id", "embedding"]] * 6
    assert pa.Table.from_batches(found).column("id").to_pylist() == [1, 2, 3, 4] * 2
    vectors = pa.Table.from_batches(found).column("embedding").to_pylist()
    np.testing.assert_allclose(vectors, [*VECTORS, *VECTORS], rtol=1e-6)


def test_a_worker_is_pickled_with_what_it_has_decided(word_artifact: Path) -> None:
    encoder = ArrowEncoder(word_artifact, normalize_embeddings=True, precision="ubinary")
    again: ArrowEncoder = pickle.loads(pickle.dumps(encoder))  # noqa: S301 (its own)
    assert again.source == encoder.source
    assert repr(again) == f"ArrowEncoder('{word_artifact}', int8 in onnxruntime)"
    assert again.identity["artifact"] == Artifact.open(word_artifact).manifest.checksum
    # Dimensions above 0 are bits, the first the highest: 0b1100_0000 is 192.
    assert again(table()).column("embedding").to_pylist() == [[192], [32], [64], [192]]
    # A process opens a model once.
    assert again.source.model() is encoder.source.model()


def test_another_artifact_at_the_same_place_is_refused(word_artifact: Path) -> None:
    encoder = ArrowEncoder(word_artifact, threads=2)
    write_manifest(word_artifact, prompts={})
    message = r"^\S+words.lanner is another artifact than at the start \(its manifest is \w{12}, th"
    with pytest.raises(ArtifactError, match=message):
        encoder(table())


def test_rows_without_a_text(word_artifact: Path) -> None:
    given = table([(1, "a"), (2, None), (3, "b")])
    encoder = ArrowEncoder(word_artifact, variant="fp32", on_bad_row="null")
    assert encoder(given).column("embedding").to_pylist() == [[1, 0, 0, 0], None, [0, 1, 0, 0]]
    assert encoder(given.slice(1, 1)).column("embedding").to_pylist() == [None]
    message = r"^row 2 has no text in the column 'text', but null: fill it, or pass on_bad_row='nul"
    with pytest.raises(InputError, match=message):
        ArrowEncoder(word_artifact, variant="fp32")(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_bad_row": "skip"}, r"^on_bad_row must be 'fail' or 'null', not 'skip'$"),
        ({"window_rows": 0}, r"^window_rows must be at least 1, not 0$"),
        ({"threshold": 0.3}, r"^the head 'embed' of words has no option 'threshold' here: use pro"),
        ({"truncate_dim": 5}, r"^truncate_dim must be from 1 to 4, not 5$"),
        ({"precision": "int4"}, r"int4"),
        ({"pair_column": "other"}, r"^words takes no pairs: omit pair_column$"),
    ],
)
def test_options_that_have_no_meaning(
    word_artifact: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ArrowEncoder(word_artifact, **options)


def test_columns_that_do_not_fit(word_artifact: Path) -> None:
    encoder = ArrowEncoder(word_artifact)
    for given, message in (
        ({"body": ["a"]}, r"^the input must have one column 'text', and it has body$"),
        ({"text": [1]}, r"^the column 'text' is int64, not text: name another$"),
        (
            {"text": ["a"], "embedding": [1]},
            r"^the input has a column 'embedding', as the answer is ",
        ),
    ):
        with pytest.raises(InputError, match=message):
            encoder(pa.table(given))
    dictionary = pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert encoder(dictionary).column("embedding").to_pylist()[2] == [1, 0, 0, 0]


def test_vectors_of_tokens(word_artifact: Path) -> None:
    write_token_artifact(word_artifact)
    found = ArrowEncoder(word_artifact, task="document")(table([(1, "a c b"), (2, "b")]))
    # "c" has no vector in documents.
    rows = found.column("embeddings").to_pylist()
    model = lanner.load(word_artifact)
    expected = model.encode_tokens(["a c b", "b"], task="document")
    assert rows == [one.tolist() for one in expected]
    assert [len(row) for row in rows] == [2, 1]


@pytest.mark.slow
def test_every_head_answers_as_its_method(
    scorer_artifact: Artifact,
    classifier_artifact: Artifact,
    tagger_artifact: Artifact,
    splade_artifact: Artifact,
) -> None:
    texts = ["a man plays a guitar", "the cat sat", "a train"]
    given = pa.table({"text": texts, "other": texts[::-1]})
    pairs = list(zip(texts, texts[::-1], strict=True))
    how: dict[str, Any] = {"variant": "fp32", "threads": 1, "keep": []}

    found = ArrowEncoder(scorer_artifact.directory, pair_column="other", **how)(given)
    model = lanner.load(scorer_artifact.directory, variant="fp32", threads=1)
    np.testing.assert_allclose(found.column("score"), model.score(pairs), rtol=1e-5)

    found = ArrowEncoder(classifier_artifact.directory, **how)(given)
    labels = lanner.load(classifier_artifact.directory, variant="fp32").classify(texts)
    assert found.column("label").to_pylist() == [one.label for one in labels]
    assert found.column("labels").to_pylist() == [one.labels for one in labels]
    np.testing.assert_allclose(found.column("score"), [one.score for one in labels], rtol=1e-5)

    found = ArrowEncoder(tagger_artifact.directory, ignore_labels=(), **how)(given)
    entities = lanner.load(tagger_artifact.directory, variant="fp32").tag(texts, ignore_labels=())
    shown = [
        [(e["text"], e["label"], e["start"]) for e in row] for row in found.column(0).to_pylist()
    ]
    assert shown == [[(e.text, e.label, e.start) for e in row] for row in entities]

    found = ArrowEncoder(splade_artifact.directory, max_active_dims=3, **how)(given)
    sparse = lanner.load(splade_artifact.directory, variant="fp32")
    rows = sparse.sparse_vectors(texts, max_active_dims=3).rows
    assert found.column("indices").to_pylist() == [row.indices.tolist() for row in rows]
    with pytest.raises(InputError, match=r"scores pairs: name that of the second texts, pair"):
        ArrowEncoder(scorer_artifact.directory)
