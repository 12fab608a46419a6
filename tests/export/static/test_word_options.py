"""Word vectors of Chinese, split by jieba, and words weighed by inverse frequency."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.artifact.artifact import Artifact
from lanner.errors import ArtifactError, InputError, MissingExtraError, UnsupportedError
from lanner.loading.load import load
from lanner.text import segmentation
from lanner_export.export import export
from lanner_export.static.reading import read_static_checkpoint
from lanner_export.static.word_options import Sif, WordOptions, chosen_segmenter, has_blanks
from lanner_export.trim.trimming import Corpus

pytestmark = pytest.mark.no_transformers

SENTENCES = [
    "一个女人在公园里弹吉他。",
    "他们在学习自然语言处理",
    "我爱北京天安门、天安门上太阳升",
    "Python 3.11 很好用, GPU也是",
    "今天 天气 不错",
    "小明硕士毕业于中国科学院计算所",
    "",
]
#: The words of `SENTENCES` by jieba 0.42.1, some of them.
WORDS = ["女人", "公园", "吉他", "学习", "自然语言", "处理", "北京", "天安门", "太阳升", "Python"]
WORDS += ["今天", "天气", "不错", "毕业", "在", "一个", "。"]


def table(path: Path, words: list[str]) -> dict[str, NDArray[np.float32]]:
    rows = np.random.default_rng(0).normal(size=(len(words), 6)).round(3).astype(np.float32)
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(words, rows, strict=True)]
    path.write_text("\n".join([f"{len(words)} 6", *lines, ""]), encoding="utf-8")
    return dict(zip(words, rows, strict=True))


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chinese") / "vectors.txt"
    table(path, WORDS)
    return path


def test_vectors_are_those_of_jieba_by_hand(chinese: Path, tmp_path: Path) -> None:
    jieba = pytest.importorskip("jieba")
    warnings: list[str] = []
    made = export(chinese, tmp_path / "zh.lanner", warn=warnings.append)
    (warning, *_) = warnings
    assert warning == (
        "most words of vectors.txt are Chinese: texts are split by jieba 0.42.1; pass --segment "
        "none if they are split already"
    )
    segmenter = Artifact.open(made.directory).manifest.tokenizer.segmenter
    assert segmenter is not None
    assert (segmenter.name, segmenter.version) == ("jieba", "0.42.1")
    vectors = table(chinese, WORDS)
    expected = []
    for sentence in SENTENCES:
        found = [vectors[word] for word in jieba.lcut(sentence) if word in vectors]
        expected.append(np.mean(found, axis=0) if found else np.zeros(6))
    ours = load(made.directory, variant="fp32")
    np.testing.assert_allclose(ours.encode(SENTENCES), expected, atol=1e-6)
    assert np.abs(ours.encode(SENTENCES[:6])).sum(axis=1).all()


def test_parts_of_chinese_words(tmp_path: Path) -> None:
    jieba = pytest.importorskip("jieba")
    fasttext = pytest.importorskip("gensim.models.fasttext")
    trained = fasttext.FastText(
        [WORDS], vector_size=6, bucket=50, min_n=1, max_n=2, min_count=1, workers=1, epochs=1
    )
    fasttext.save_facebook_model(trained, str(tmp_path / "m.bin"))
    reference = fasttext.load_facebook_vectors(str(tmp_path / "m.bin"))
    checkpoint = read_static_checkpoint(
        tmp_path / "m.bin", tmp_path / "rows", words=WordOptions("jieba")
    )
    expected = [
        np.mean([reference[word] for word in jieba.lcut(text) if not word.isspace()], axis=0)
        for text in SENTENCES[:6]
    ]
    np.testing.assert_allclose(checkpoint.reference(SENTENCES[:6]), expected, atol=1e-6)


def test_the_segmenter_of_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jieba")
    english, split = ["the", "falcon", "北京"], ["今天 天气 不错", "一个 女人 在 公园", "x"]
    assert chosen_segmenter(english, WordOptions(), "v") == (None, [])
    assert chosen_segmenter(WORDS, WordOptions("none"), "v") == (None, [])
    found, _ = chosen_segmenter(english, WordOptions("jieba"), "v")
    assert found is not None
    found, _ = chosen_segmenter(WORDS, WordOptions(texts=SENTENCES), "v")
    assert found is not None
    assert has_blanks(split)
    found, (warning,) = chosen_segmenter(WORDS, WordOptions(texts=split), "v")
    assert found is None
    assert warning.startswith("most words of v are Chinese, and so are the texts, with blanks betw")

    def missing() -> None:
        what, extra, module = "splitting Chinese texts into words", "zh", "jieba"
        raise MissingExtraError(what, extra, module)

    monkeypatch.setattr(segmentation, "_jieba", missing)
    found, (warning,) = chosen_segmenter(WORDS, WordOptions(), "v")
    assert found is None
    assert warning.startswith("most words of v are Chinese, and texts without blanks need jieba")
    with pytest.raises(MissingExtraError, match=r"pip install 'lanner\[zh\]'"):
        chosen_segmenter(WORDS, WordOptions("jieba"), "v")


def test_another_dictionary_is_refused() -> None:
    pytest.importorskip("jieba")
    own = segmentation.installed_segmenter()
    other = type(own)("jieba", "0.39", "0" * 64)
    with pytest.raises(ArtifactError, match=r"by jieba 0.39, and the dictionary of the installed "):
        segmentation.open_segmenter(other)


def weighed(tmp_path: Path, *, smoothing: float, removes_component: bool) -> Any:
    path = tmp_path / "v.txt"
    path.write_text("a 2 0\nb 0 4\nc 1 1\n")
    sif = Sif(Corpus("texts.txt", ["a a a b"]), smoothing, removes_component)
    return read_static_checkpoint(path, tmp_path / "rows", words=WordOptions("none", sif))


def test_weights_by_inverse_frequency_by_hand(tmp_path: Path) -> None:
    # a occurs three times in four, b once, c never: 0.25 / (0.25 + p) is 1/4, 1/2 and 1.
    checkpoint = weighed(tmp_path, smoothing=0.25, removes_component=False)
    assert checkpoint.table.weights.tolist() == [0.25, 0.5, 1]
    # (1/4 (2, 0) + 1/2 (0, 4)) / 2, and (1/4 (2, 0) + (1, 1)) / 2.
    expected = [[0.25, 1], [0.75, 0.5], [0, 0]]
    assert checkpoint.reference(["a b", "a c", "z"]).tolist() == expected


def test_the_first_component_by_hand(tmp_path: Path) -> None:
    # The only text has the vector (3/4 (2, 0) + 1/2 (0, 4)) / 4 = (3/8, 4/8): its direction is
    # (0.6, 0.8). Of (0.25, 1) it takes 0.95 away, and of (0, 2) it takes 1.6.
    checkpoint = weighed(tmp_path, smoothing=0.25, removes_component=True)
    expected = np.array([[-0.32, 0.24], [-0.96, 0.72], [0, 0]])
    np.testing.assert_allclose(checkpoint.reference(["a b", "b", "z"]), expected, atol=1e-6)


def test_an_artifact_weighs_words(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("a 2 0\nb 0 4\nc 1 1\n")
    (tmp_path / "texts.txt").write_text("a a a b\n")
    made = export(
        tmp_path / "v.txt",
        tmp_path / "out.lanner",
        sif=tmp_path / "texts.txt",
        sif_smoothing=0.25,
        remove_component=True,
        warn=lambda _: None,
    )
    record = {"texts": "texts.txt", "smoothing": 0.25, "removes_component": True}
    assert made.manifest.source["sif"] == record
    expected = np.array([[-0.32, 0.24], [-0.96, 0.72], [0, 0]])
    for variant in ("fp32", "int8"):
        found = load(made.directory, variant=variant).encode(["a b", "b", "z"])
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    sif = Sif(Corpus("texts.txt", ["x y"]))
    (tmp_path / "v.txt").write_text("a 2 0\nb 0 4\n")
    with pytest.raises(InputError, match=r"texts.txt has none of the words of v.txt, whose freq"):
        read_static_checkpoint(
            tmp_path / "v.txt", tmp_path / "rows", words=WordOptions("none", sif)
        )
    for options, name in ((WordOptions("jieba"), "--segment"), (WordOptions("auto", sif), "--sif")):
        message = rf"{name} is for files of word vectors, and .* is none: leave it out"
        with pytest.raises(UnsupportedError, match=message):
            read_static_checkpoint(tmp_path, tmp_path / "rows", words=options)
