"""`lanner encode` of files, run in this process; `test_commands` has what all commands share."""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tests.support.word_artifact import write_manifest, write_token_artifact

from lanner.commands import encode, main, parser
from lanner.commands.source import add_model_options
from lanner.models.embedding import EmbeddingModel


@pytest.fixture(autouse=True)
def _keep_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanner.files.bulk.CHUNK_ROWS", 2)


def run(*arguments: object) -> int:
    return main(["encode", *(str(argument) for argument in arguments), "--variant", "fp32"])


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_ids_and_chosen_columns_are_carried_along(word_artifact: Path, tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl",
        {"body": "a", "id": 7, "lang": "de", "more": 0},
        {"body": "b", "id": 8, "lang": None, "more": 0},
    )
    options = [source, "--column", "body", "--id-column", "id", "--keep", "lang, id"]
    assert run(word_artifact, "--output", tmp_path / "out.jsonl", "--input", *options) == 0
    assert rows_of(tmp_path / "out.jsonl") == [
        {"id": 7, "lang": "de", "text": "a", "embedding": [1, 0, 0, 0]},
        {"id": 8, "lang": None, "text": "b", "embedding": [0, 1, 0, 0]},
    ]


def test_parquet_in_and_out(word_artifact: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the parquet extra")
    import pyarrow.parquet as pq  # noqa: PLC0415 (an extra)

    ids = pa.array([1, 2, 3], pa.int16())
    pq.write_table(pa.table({"text": ["a", "b", "a b"], "id": ids}), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    options = ["--id-column", "id", "--no-text", "--truncate-dim", 2, "--output", output]
    assert run(word_artifact, "--input", tmp_path / "in.parquet", *options) == 0
    table = pq.read_table(output)
    assert table.schema == pa.schema([("id", pa.int16()), ("embedding", pa.list_(pa.float32(), 2))])
    assert table.column("embedding").to_pylist() == [[1, 0], [0, 1], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--output", "x.npy", "--keep", "a"],
            "a .npy file holds the vectors alone: use a .parquet or .jsonl --output for",
        ),
        (["--json", "--id-column", "a"], "--json holds the vectors alone: use a .parquet or"),
        (["--keep", "embedding"], "the output has a column 'embedding' of its own: rename the"),
        (
            ["--keep", "a,text"],
            "'text' of its own: rename the column of the input, or use --no-text",
        ),
        (["--on-bad-row", "stop"], "invalid choice: 'stop'"),
        (["--truncate-dim", "0"], "must be an integer of at least 1, not '0'"),
        (["--input-format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.jsonl", {"text": "a"})
    try:
        status = run("no.lanner", "--input", source, *arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err


def test_columns_need_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no.lanner", "a", "--keep", "id") == 2
    assert "--id-column and --keep need --input FILE" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_a_file_is_read_before_a_model_is_loaded(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("no.lanner", "--input", "gone.csv", "--output", tmp_path / f"out{suffix}") == 1
    assert capsys.readouterr().err == "lanner: error: there is no file gone.csv: check the path\n"


def test_a_dimension_that_is_not_there(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(word_artifact, "a", "--truncate-dim", 5, "--output", tmp_path / "out.npy") == 1
    assert "truncate_dim must be from 1 to 4, not 5" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [word_artifact.name]


def test_bad_rows_are_skipped_and_told(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.jsonl", {"text": "a"}, "{oops", {"text": 3}, {"text": "b"})
    output = tmp_path / "out.npy"
    options = ["--input", source, "--on-bad-row", "skip"]
    assert run(word_artifact, *options, "--output", output, "--json") == 0
    out, err = capsys.readouterr()
    bad = [
        f"{source}, line {line}: expected a JSON string or an object with 'text' as text"
        for line in (2, 3)
    ]
    assert json.loads(out) == {
        "texts": 2,
        "dimension": 4,
        "precision": "float32",
        "variant": "fp32",
        "engine": "onnxruntime",
        "resumed_behind_row": 0,
        "output": str(output),
        "cut_texts": 0,
        "skipped_rows": 2,
        "bad_rows": bad,
    }
    told = f"2 bad rows skipped:\n  {bad[0]}\n  {bad[1]}\n"
    assert err == f"2 vectors of 4 dimensions in {output}, by fp32 in onnxruntime\n{told}"
    assert np.load(output).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert run(word_artifact, *options) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["a", "b"]
    assert err == told


def test_more_bad_rows_than_are_told(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.jsonl", *["{oops"] * 7)
    assert run(word_artifact, "--input", source, "--on-bad-row", "skip") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "7 bad rows skipped:"
    assert len(lines) == 7
    assert lines[6] == "  ..."


def test_an_interrupted_run_is_gone_on_with(
    word_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write(tmp_path / "in.jsonl", *[{"text": text} for text in "abcde"])
    options = [word_artifact, "--input", source, "--output", tmp_path / "out.npy"]
    encode_texts = EmbeddingModel.encode

    def interrupted(self: EmbeddingModel, texts: list[str], **more: object) -> object:
        if texts == ["c", "d"]:
            raise KeyboardInterrupt
        return cast("Any", encode_texts)(self, texts, **more)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingModel, "encode", interrupted)
        assert run(*options) == 130
    err = capsys.readouterr().err
    assert err == "the same command continues behind row 2\nlanner: error: interrupted\n"
    assert run(*options, "--normalize") == 1
    assert "a run with another --normalize (False, now True)" in capsys.readouterr().err
    assert run(*options, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["resumed_behind_row"] == 2
    assert err.startswith(f"continuing behind row 2 of {source}\n5 vectors of 4 dimensions in ")
    assert np.load(tmp_path / "out.npy").argmax(axis=1).tolist() == [0, 1, 2, 3, 0]
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def stopped(word_artifact: Path, tmp_path: Path) -> list[object]:
    """Return the options of a run that wrote two rows and met a bad one."""
    source = write(tmp_path / "in.jsonl", *[{"text": text} for text in ("a", "b", "c")], "{oops")
    options = [word_artifact, "--input", source, "--output", tmp_path / "out.npy"]
    assert run(*options) == 1
    assert (tmp_path / ".out.npy.partial").is_dir()
    return options


@pytest.mark.parametrize(
    ("variant", "engine", "difference"),
    [
        ("int8", "onnxruntime", "variant (fp32, now int8)"),
        ("fp32", "openvino", "engine (onnxruntime, now openvino)"),
    ],
)
def test_another_variant_or_engine_is_another_run(
    stopped: list[object],
    variant: str,
    engine: str,
    difference: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(engine, reason="needs the engine's extra")
    capsys.readouterr()
    options = map(str, [*stopped, "--on-bad-row", "skip", "--variant", variant, "--engine", engine])
    assert main(["encode", *options]) == 1
    assert capsys.readouterr().err.endswith(
        f"/.out.npy.partial holds the first 2 rows of a run with another {difference}: use the "
        "earlier options to continue, or --restart to discard them\n"
    )


def test_an_option_that_is_added_is_another_run_by_itself(
    stopped: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_one_more(parser: argparse.ArgumentParser, **how: bool) -> None:
        add_model_options(parser, **how)
        parser.add_argument("--later-option", default="old")

    monkeypatch.setattr("lanner.commands.encode.add_model_options", with_one_more)
    assert run(*stopped, "--on-bad-row", "skip", "--later-option", "new") == 1
    assert "a run with another --later-option (None, now new)" in capsys.readouterr().err


def test_options_that_may_differ_are_options() -> None:
    arguments = ["encode", "a.lanner", "text"]
    assert vars(parser().parse_args(arguments)).keys() >= encode.MAY_DIFFER


def test_another_artifact_is_another_run(
    stopped: list[object], word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.support.word_artifact import write_manifest  # noqa: PLC0415 (needs the export extra)

    write_manifest(word_artifact, source={"checkpoint": "another"})
    assert run(*stopped, "--on-bad-row", "skip") == 1
    assert "a run with another artifact (" in capsys.readouterr().err
    assert run(*stopped, "--on-bad-row", "skip", "--restart") == 0
    assert len(np.load(tmp_path / "out.npy")) == 3


def test_objects_of_standard_input(
    word_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = io.BytesIO(b'{"text": "a", "id": 1}\n{"text": "b", "id": 2}\n{"text": "c", "id": 3}')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    options = ["--input", "-", "--input-format", "jsonl", "--id-column", "id", "--no-text"]
    assert run(word_artifact, *options) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [json.loads(line) for line in out.splitlines()] == [
        {"id": 1, "embedding": [1, 0, 0, 0]},
        {"id": 2, "embedding": [0, 1, 0, 0]},
        {"id": 3, "embedding": [0, 0, 1, 0]},
    ]


def test_without_pyarrow_parquet_says_what_to_install(
    word_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for module in ("lanner.files.parquet_vectors", "lanner.files.parquet_rows"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "in.parquet").touch()
    assert run(word_artifact, "a", "--output", tmp_path / "out.parquet") == 1
    remedy = "needs the package 'pyarrow', which is not installed: pip install 'lanner[parquet]'\n"
    assert capsys.readouterr().err == f"lanner: error: writing .parquet files {remedy}"
    assert run(word_artifact, "--input", tmp_path / "in.parquet") == 1
    assert capsys.readouterr().err == f"lanner: error: reading .parquet files {remedy}"


LONG = "a b c d e f"  # four words are read


def test_cut_texts_are_counted_over_a_resumed_run(
    word_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write(tmp_path / "in.txt", LONG, "a", "b", LONG, LONG)
    arguments = ["--input", source, "--output", tmp_path / "out.npy", "--json"]
    real = EmbeddingModel.encode

    def stopped(self: EmbeddingModel, texts: Any, *rest: Any, **options: Any) -> Any:
        if texts == ["b", LONG]:
            raise KeyboardInterrupt
        return cast("Any", real)(self, texts, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingModel, "encode", stopped)
        assert run(word_artifact, *arguments) == 130
    assert run(word_artifact, *arguments) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["cut_texts"] == 3
    assert (
        "3 texts are longer than the model's limit and were cut: refuse them with --on-long error, "
        "or encode them in parts with --on-long chunk\n" in shown.err
    )


def test_long_texts_are_refused_or_encoded_in_parts(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(word_artifact, "a", LONG, "--on-long", "error") == 1
    message = "the text at index 1 has 6 tokens, and the model reads at most 4: shorten it, or"
    assert message in capsys.readouterr().err
    assert run(word_artifact, LONG, "--json", "--on-long", "chunk", "--chunk-overlap", 0) == 0
    shown = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(shown["embeddings"], [[0.375, 0.375, 0.125, 0.125]], atol=1e-7)
    assert shown["cut_texts"] is None
    assert run(word_artifact, LONG, "--json") == 0
    assert json.loads(capsys.readouterr().out)["cut_texts"] == 1
    assert run(word_artifact, "a", "--chunk-overlap", 1) == 2
    assert "--chunk-overlap is for --on-long chunk" in capsys.readouterr().err


def sparse(word_artifact: Path) -> Path:
    """Give the artifact the head `sparse`; its terms are "[PAD]", "[UNK]", "a" and "b"."""
    write_manifest(word_artifact, head="sparse", similarity="dot")
    return word_artifact


def test_weights_of_terms_are_json(
    word_artifact: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(sparse(word_artifact), "a a a b", "zz") == 0
    expected = [
        {"text": "a a a b", "embedding": {"[PAD]": 0.75, "[UNK]": 0.25}},
        {"text": "zz", "embedding": {"b": 0.5}},
    ]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == expected
    assert run(word_artifact, "a a a b", "--max-active-dims", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["embeddings"] == [{"[PAD]": 0.75}]
    source = write(tmp_path / "in.txt", "a a a b", "zz")
    assert run(word_artifact, "--input", source, "--output", tmp_path / "out.jsonl") == 0
    assert rows_of(tmp_path / "out.jsonl") == expected


def test_weights_of_terms_are_a_matrix_of_scipy(word_artifact: Path, tmp_path: Path) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse", reason="the reference")
    source = write(tmp_path / "in.txt", *["a a a b", "zz", "c"] * 5)
    output = tmp_path / "out.npz"
    assert run(sparse(word_artifact), "--input", source, "--output", output) == 0
    found = scipy_sparse.load_npz(output)
    assert found.toarray().tolist() == [[0.75, 0.25, 0, 0], [0, 0, 0, 0.5], [0, 0, 1, 0]] * 5
    content = output.read_bytes()
    assert run(word_artifact, "--input", source, "--output", output) == 0
    assert output.read_bytes() == content
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x.npy"], "a .npy file does not hold the weights of terms of"),
        (["--output", "x.parquet"], "use .jsonl or .npz"),
        (["--normalize"], "--normalize does not fit the weights of terms of"),
        (["--truncate-dim", "2"], "--truncate-dim does not fit the weights of terms of"),
        (["--precision", "int8"], "--precision does not fit the weights of terms of"),
    ],
)
def test_what_is_for_dense_vectors_alone(
    word_artifact: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(sparse(word_artifact), "a", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_task_takes_its_prompt(word_artifact: Path, tmp_path: Path) -> None:
    write_manifest(word_artifact, prompts={"query": "b "})
    for task, expected in (("query", [0.5, 0.5, 0, 0]), ("document", [1, 0, 0, 0])):
        output = tmp_path / f"{task}.npy"
        assert run(word_artifact, "a", "--task", task, "--output", output) == 0
        np.testing.assert_allclose(np.load(output), [expected])


@pytest.mark.parametrize("text", ["a b", "\u00e9 \u00e9"], ids=["ascii", "not ascii"])
def test_only_texts_that_reach_the_limit_are_tokenised_again(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    asked: list[list[str]] = []

    def spied(self: Any, texts: list[str], *arguments: Any, **options: Any) -> list[int]:
        asked.append(texts)
        return cut_indices(self, texts, *arguments, **options)

    cut_indices = EmbeddingModel.cut_indices
    monkeypatch.setattr(EmbeddingModel, "cut_indices", spied)
    output, long = tmp_path / "out.npy", "a b c d e"
    assert run(word_artifact, text, long, text, "--output", output) == 0
    assert asked == [[], [long], []]


def test_what_is_for_sparse_vectors_alone(
    word_artifact: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(word_artifact, "a", "--output", tmp_path / "x.npz") == 2
    assert "a .npz file does not hold the vectors of" in capsys.readouterr().err
    assert run(word_artifact, "a", "--max-active-dims", 2) == 2
    assert "--max-active-dims does not fit the vectors of" in capsys.readouterr().err


def test_vectors_of_tokens_are_json_and_arrays(
    word_artifact: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_token_artifact(word_artifact)
    assert run(word_artifact, "a c d", "b") == 0
    assert [json.loads(line)["embedding"] for line in capsys.readouterr().out.splitlines()] == [
        [[1, 0, 0, 0], [0, 0, 0, 1]],
        [[0, 1, 0, 0]],
    ]
    source = write(tmp_path / "in.txt", *["a c d", "b", "c"] * 3)
    output = tmp_path / "out.npz"
    assert run(word_artifact, "--input", source, "--output", output, "--task", "query") == 0
    found = np.load(output)
    assert found["starts"].tolist() == [4 * number for number in range(10)]
    words = ["acdf", "bfff", "cfff"]
    rows = np.eye(4)[["abcdef".index(word) % 4 for word in "".join(words)]]
    assert found["vectors"].tolist() == rows.tolist() * 3
    assert run(word_artifact, "a", "--max-active-dims", 1) == 2
    assert "--max-active-dims does not fit the vectors of tokens of" in capsys.readouterr().err
