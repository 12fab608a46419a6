import gzip
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import CheckpointError
from lanner_export.static.word_vectors import WordVectors, is_word_vectors, read_word_vectors

WORDS = ["the", "猫", "🦅", "naïve", "12", "-"]
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32)


def read(path: Path) -> tuple[WordVectors, NDArray[np.float32]]:
    vectors = read_word_vectors(path, path.with_name("rows"))
    table = np.fromfile(vectors.rows, "<f4").reshape(len(vectors.words), vectors.dimension)
    return vectors, table


def write(path: Path, *lines: str | bytes) -> Path:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    return path


def keyed_vectors(words: list[Any] = WORDS, vectors: NDArray[Any] = VECTORS) -> Any:
    gensim_models = pytest.importorskip("gensim.models")
    keyed = gensim_models.KeyedVectors(vectors.shape[1], dtype=vectors.dtype)
    keyed.add_vectors(words, vectors)
    return keyed


def save_glove(path: Path) -> None:
    keyed_vectors().save_word2vec_format(path, write_header=False)


def save_word2vec(path: Path) -> None:
    keyed_vectors().save_word2vec_format(path)


def save_binary(path: Path) -> None:
    keyed_vectors().save_word2vec_format(path, binary=True)


def save_keyed(path: Path) -> None:
    keyed_vectors().save(str(path))


def save_keyed_with_table_beside(path: Path) -> None:
    keyed_vectors().save(str(path), separately=["vectors"])
    assert path.with_name(path.name + ".vectors.npy").is_file()


@pytest.mark.parametrize("is_compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("save", "form"),
    [
        (save_glove, "glove text"),
        (save_word2vec, "word2vec text"),
        (save_binary, "word2vec binary"),
        (save_keyed, "gensim KeyedVectors"),
        (save_keyed_with_table_beside, "gensim KeyedVectors"),
    ],
)
def test_what_gensim_saves_is_read(
    tmp_path: Path, save: Any, form: str, *, is_compressed: bool
) -> None:
    path = tmp_path / "vectors"  # without a suffix, the content decides
    save(path)
    if is_compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert is_word_vectors(path)
    vectors, table = read(path)
    assert (vectors.words, vectors.dimension, vectors.format) == (WORDS, 5, form)
    assert table.tolist() == VECTORS.tolist()
    assert vectors.matrix.array().tolist() == VECTORS.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("separately", [[], ["vectors"]], ids=["inside", "beside"])
def test_other_floats_of_gensim_become_float32(
    tmp_path: Path, dtype: type[np.floating[Any]], separately: list[str]
) -> None:
    path = tmp_path / "vectors.kv"
    keyed_vectors(vectors=VECTORS.astype(dtype)).save(str(path), separately=separately)
    assert read(path)[1].tolist() == VECTORS.astype(dtype).astype(np.float32).tolist()


def test_vectors_that_were_trained_are_those_of_gensim(tmp_path: Path) -> None:
    gensim_models = pytest.importorskip("gensim.models")
    sentences = [["a", "b", "c", "d"]] * 5
    model = gensim_models.Word2Vec(sentences, vector_size=8, min_count=1, seed=1, workers=1)
    model.wv.save(str(tmp_path / "model.kv"))
    vectors, table = read(tmp_path / "model.kv")
    assert vectors.words == model.wv.index_to_key
    assert table.tolist() == model.wv.vectors.tolist()


def test_numbers_are_rounded_as_gensim_rounds_them(tmp_path: Path) -> None:
    numbers = [f"{x:.{digits}f}" for digits in (1, 5, 17) for x in VECTORS[0]] + ["1e-30", "-2E3"]
    path = write(tmp_path / "v.txt", f"1 {len(numbers)}", "w " + " ".join(numbers))
    gensim_models = pytest.importorskip("gensim.models")
    expected = gensim_models.KeyedVectors.load_word2vec_format(path)["w"]
    assert read(path)[1].tolist() == [expected.tolist()]


def test_fasttext_vec_has_blanks_at_its_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "wiki.vec", "2 3", ", 1 2 3 ", "</s> 4 5 6 ")
    vectors, table = read(path)
    assert (vectors.words, vectors.format) == ([",", "</s>"], "word2vec text")
    assert table.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_words_with_spaces_keep_them(tmp_path: Path) -> None:
    path = write(tmp_path / "g.txt", ". . . 1 2 3", "at name@domain.com 4 5 6", "7 8 9 10", "")
    vectors, table = read(path)
    assert vectors.words == [". . .", "at name@domain.com", "7"]
    assert table.tolist() == [[1, 2, 3], [4, 5, 6], [8, 9, 10]]


def test_a_blank_that_gensim_saved_as_a_word_is_one(tmp_path: Path) -> None:
    words, rows = ["1", " ", "last"], np.arange(6, dtype=np.float32).reshape(3, 2)
    keyed_vectors(words, rows).save_word2vec_format(tmp_path / "v.txt")
    vectors, table = read(tmp_path / "v.txt")
    assert (vectors.words, table.tolist()) == (words, rows.tolist())


def test_tabs_windows_line_ends_and_odd_blanks(tmp_path: Path) -> None:
    path = write(tmp_path / "g.txt", "a\t1\t2\r", "\u00a0 3 4\r", "\u2028 5 6")
    vectors, table = read(path)
    assert vectors.words == ["a", "\u00a0", "\u2028"]
    assert table.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("line_end", [b"", b"\n"], ids=["gensim", "the original tool"])
def test_binary_rows_may_end_with_a_line_feed(tmp_path: Path, line_end: bytes) -> None:
    rows = [struct.pack("<2f", 1, 2), struct.pack("<2f", 3, 4)]
    body = b"a " + rows[0] + line_end + "猫".encode() + b" " + rows[1] + line_end
    (tmp_path / "v.bin").write_bytes(b"2 2\n" + body)
    vectors, table = read(tmp_path / "v.bin")
    assert vectors.words == ["a", "猫"]
    assert table.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("is_binary", [False, True], ids=["text", "binary"])
def test_of_equal_words_the_first_counts_as_in_gensim(tmp_path: Path, *, is_binary: bool) -> None:
    path = tmp_path / "v"
    if is_binary:
        rows = [b"a", b"b", b"a"]
        pairs = zip(rows, [(1, 2), (3, 4), (5, 6)], strict=True)
        path.write_bytes(b"3 2\n" + b"".join(w + b" " + struct.pack("<2f", *v) for w, v in pairs))
    else:
        write(path, "3 2", "a 1 2", "b 3 4", "a 5 6")
    gensim_models = pytest.importorskip("gensim.models")
    expected = gensim_models.KeyedVectors.load_word2vec_format(path, binary=is_binary)
    vectors, table = read(path)
    assert vectors.words == list(expected.key_to_index) == ["a", "b"]
    assert table.tolist() == expected[["a", "b"]].tolist() == [[1, 2], [3, 4]]


def test_gensims_places_of_double_words_are_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", "3 2", "a 1 2", "b 3 4", "a 5 6")
    gensim_models = pytest.importorskip("gensim.models")
    keyed = gensim_models.KeyedVectors.load_word2vec_format(path)
    assert keyed.index_to_key == ["a", "b", None]
    keyed.save(str(tmp_path / "v.kv"))
    vectors, table = read(tmp_path / "v.kv")
    assert vectors.words == ["a", "b"]
    assert table.tolist() == [[1, 2], [3, 4]]


def test_more_rows_than_one_block(tmp_path: Path) -> None:
    table = np.random.default_rng(1).integers(-9, 9, (5000, 1000))
    lines = [" ".join([f"w{i}", *map(str, row)]) for i, row in enumerate(table.tolist())]
    vectors, rows = read(write(tmp_path / "g.txt", *lines))
    assert vectors.words == [f"w{i}" for i in range(5000)]
    assert rows.tolist() == table.tolist()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"is not a file of word vectors: expected GloVe"),
        (["hello"], r"is not a file of word vectors"),
        (["1 99999999999", "a 1"], r"is not a file of word vectors"),
        (["9" * 5000 + " 2", "a 1 2"], r"is not a file of word vectors"),
        (["PK\x03\x04 1"], r"is not a file of word vectors"),
        (["a 1 2 3", "b 1 2"], r"line 2 of .* has 2 values where 3 were expected: remove or"),
        (["a 1 2 3", "b 1 2 3 4"], r"line 2 of .* has 4 values where 3 were expected"),
        (["2 3", "a 1 2 3", "b 1 2"], r"line 3 of .* has 2 values where 3 were expected"),
        (["1 3", "a"], r"line 2 of .* has 0 values where 3 were expected"),
        (["a 1 2", "b 1 x"], r"line 2 of .* has 'x' where a number was expected"),
        (["a 1 2", "b 1 nan"], r"the vector of 'b' in .* has a value that is not a finite numb"),
        (["a 1 2", "b 1 2", "c inf 1"], r"the vector of 'c' in .* is not a finite number"),
        (["a 1 2", "b 1e50 2"], r"the vector of 'b' in .* not a finite number of float32: rem"),
        (["a 1 2", b"caf\xe9 1 2"], r"1 words of .*s\.txt are not UTF-8, and 1 are: convert the f"),
        (["3 2", "a 1 2", "b 1 2"], r"promises 3 vectors in its first line and holds 2: it was"),
        (["1 2", "a 1 2", "b 1 2"], r"promises 1 vectors in its first line and holds 2"),
        (["0 2"], r"holds no vectors"),
        (["2 0", "a", "b"], r"vectors.txt holds no vectors: give a file that does"),
        ([b"2 2", b"a " + bytes(8) + b"b " + bytes(6)], r"promises 2 vectors .* holds 1"),
        ([b"1 2", b"a " + bytes(8) + b"b " + bytes(8)], r"promises 1 vectors .* holds more"),
        ([b"1 2", b"\xff " + bytes(8)], r"1 words of .* are not UTF-8, and 0 are"),
        (
            [b"1 2", b"a " + struct.pack("<2f", 1, np.nan) + b"\n"],
            r"the vector of 'a' in .* is not a finite number",
        ),
    ],
)
def test_bad_files_are_refused_by_line(
    tmp_path: Path, lines: list[str | bytes], message: str
) -> None:
    path = write(tmp_path / "vectors.txt", *lines)
    with pytest.raises(CheckpointError, match=message):
        read(path)
    assert os.listdir(tmp_path) == ["vectors.txt"]  # noqa: PTH208 (hidden files too)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"a 1 2\n", r"line 2 of .*v.txt does not end: copy or download the file again"),
        (b"9 2\na ", r"the word of row 1 of .*v.txt does not end: copy or download it again"),
    ],
    ids=["text", "binary"],
)
def test_a_sparse_giant_is_not_read(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(start)
    with path.open("ab") as file:
        file.truncate(8 * 2**30)
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*nothing.txt: check the path"):
        read(tmp_path / "nothing.txt")


def test_half_a_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.gz"
    lines = "".join(f"w{i} {i} {i * 7 % 13}\n" for i in range(1000))
    path.write_bytes(gzip.compress(lines.encode())[:-30])
    with pytest.raises(CheckpointError, match=r"v.gz is not a whole gzip file .*: copy or downl"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"text\n", b"one two\n", b"{}", b"a 1\n", pickle.dumps({"a": 1}), b"\x1f\x8bgzip"],
)
def test_other_files_are_no_word_vectors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not is_word_vectors(tmp_path / "file")
    assert not is_word_vectors(tmp_path)
    assert not is_word_vectors(tmp_path / "nothing")


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    path, proof = tmp_path / "evil.kv", tmp_path / "was-here"
    keyed = keyed_vectors()
    keyed.norms = _Evil(proof)
    keyed.save(str(path))
    with pytest.raises(CheckpointError, match=r"evil.kv is a pickle that asks for .*Lanner runs n"):
        read(path)
    assert not proof.exists()


@pytest.mark.parametrize("kind", ["Word2Vec", "FastText"])
def test_whole_models_of_gensim_are_refused(tmp_path: Path, kind: str) -> None:
    model_class = getattr(pytest.importorskip("gensim.models"), kind)
    options = {"bucket": 10} if kind == "FastText" else {}
    model = model_class([["a", "b"]] * 3, vector_size=4, min_count=1, **options)
    path = tmp_path / "full.model"
    model.save(str(path))
    assert is_word_vectors(path)
    message = rf"full.model holds gensim's {kind}, and Lanner reads only its KeyedVectors: save it"
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_fasttext_vectors_with_subwords_are_refused(tmp_path: Path) -> None:
    gensim_models = pytest.importorskip("gensim.models")
    model = gensim_models.FastText([["a", "b"]] * 3, vector_size=4, min_count=1, bucket=10)
    model.wv.save(str(tmp_path / "v.kv"))
    with pytest.raises(CheckpointError, match=r"v.kv holds gensim's FastTextKeyedVectors"):
        read(tmp_path / "v.kv")


def test_a_table_that_was_left_behind_is_named(tmp_path: Path) -> None:
    save_keyed_with_table_beside(tmp_path / "v.kv")
    (tmp_path / "v.kv.vectors.npy").unlink()
    with pytest.raises(CheckpointError, match=r"there is no .*v.kv.vectors.npy: gensim saved the"):
        read(tmp_path / "v.kv")


def test_a_table_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    save_keyed_with_table_beside(tmp_path / "v.kv")
    proof = tmp_path / "was-here"
    objects = np.array([[_Evil(proof)]], dtype=object)
    np.save(tmp_path / "v.kv.vectors.npy", objects, allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"v.kv.vectors.npy is not a whole .npy file"):
        read(tmp_path / "v.kv")
    assert not proof.exists()


def test_tables_that_do_not_fit_their_words_are_refused(tmp_path: Path) -> None:
    save_keyed_with_table_beside(tmp_path / "v.kv")
    np.save(tmp_path / "v.kv.vectors.npy", VECTORS[:2])
    with pytest.raises(CheckpointError, match=r"v.kv has 6 words and a table of shape \(2, 5\)"):
        read(tmp_path / "v.kv")
    np.save(tmp_path / "v.kv.vectors.npy", VECTORS.astype(np.int32))
    with pytest.raises(CheckpointError, match=r"its table is of dtype 'i4', not of floats"):
        read(tmp_path / "v.kv")


def test_keys_that_are_no_words_are_refused(tmp_path: Path) -> None:
    keyed_vectors(words=[1, 2], vectors=VECTORS[:2]).save(str(tmp_path / "v.kv"))
    with pytest.raises(CheckpointError, match=r"v.kv has keys that are not words"):
        read(tmp_path / "v.kv")


def test_a_damaged_pickle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.kv"
    save_keyed(path)
    whole = path.read_bytes()
    for length in range(60, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"v.kv is not a whole file of gensim's Keyed"):
            read(path)


@pytest.mark.parametrize("is_compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("header", [[], ["2 3"]], ids=["glove", "word2vec"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(
    tmp_path: Path, header: list[str], *, is_compressed: bool
) -> None:
    path = write(tmp_path / "v.txt", *header, "the 1 2 3", "cat 4 5 6")
    raw = b"\xef\xbb\xbf" + path.read_bytes()
    path.write_bytes(gzip.compress(raw) if is_compressed else raw)
    assert is_word_vectors(path)
    vectors, table = read(path)
    assert vectors.words == ["the", "cat"]
    assert table.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("is_binary", [False, True], ids=["text", "binary"])
def test_words_with_broken_bytes_are_left_out(tmp_path: Path, *, is_binary: bool) -> None:
    words = [*(f"w{i}".encode() for i in range(39)), "猫".encode()[:2], b"last"]
    rows = [struct.pack("<2f", i, 1) if is_binary else b"%d 1" % i for i in range(41)]
    lines = [word + b" " + row for word, row in zip(words, rows, strict=True)]
    vectors, table = read(write(tmp_path / "v", b"41 2", *lines))
    assert vectors.words == [*(f"w{i}" for i in range(39)), "last"]
    assert vectors.left_out == 1
    assert table[-1].tolist() == [40, 1]
