"""Forged artifacts, stored choices and partial outputs."""

import io
import json
import shutil
from argparse import Namespace
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bounds import cases, limited_memory, use
from tests.support.mutations import damaged, forged
from tests.support.word_artifact import write_manifest, write_word_artifact

from lanner.artifact import manifest as manifest_module
from lanner.artifact.artifact import QUALITY_FILE, Artifact
from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.artifact.manifest import MANIFEST_FILE, LateInteraction, RangesRecord, Variant
from lanner.commands import inspect
from lanner.files.bulk import Bulk
from lanner.files.partial import directory_of
from lanner.files.row_files import open_rows
from lanner.files.rows import Columns
from lanner.loading.configuration import Configuration
from lanner.loading.load import load
from lanner.loading.tuned import Choice, machine_key, store_choice, tuning_file
from lanner.models.answers import ask
from lanner.triton.repository.write import write_repository
from lanner.vectors.ranges import EmbeddingRanges

pytestmark = pytest.mark.slow

RANGES = "ranges.npy"


@pytest.fixture(scope="module", autouse=True)
def memory() -> Iterator[None]:
    with limited_memory():
        yield


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an artifact with every member that a manifest can have."""
    directory = write_word_artifact(tmp_path_factory.mktemp("hostile") / "words.lanner")
    extremes = np.array([[-2.0] * 4, [2.0] * 4], np.float32)
    EmbeddingRanges(extremes, np.ones(4, np.float32)).write(directory / RANGES)
    (directory / "model.plan").write_bytes(b"an engine")
    full(directory)
    return directory


def full(directory: Path, **changes: Any) -> None:
    graphs = [
        Variant(
            name,
            name,
            f"model.{name}.onnx",
            "onnxruntime",
            23,
            {"Attention": 2},
            calibration={"texts": 3, "data": "some", "method": "minmax"},
            passes=["fold"],
            float32_products=["a", "b"],
            products=4,
            budget="spearman:0.3",
        )
        for name in ("fp32", "int8")
    ]
    build = EngineBuild("NVIDIA H100", "9.0", "10.13.3.9", [Profile((1, 1), (1, 4), (8, 4))])
    engine = Variant("fp16", "fp16", "model.plan", "tensorrt", 23, {}, build=build)
    trimming = {
        "layers": {"kept": [0, 2], "of": 4},
        "tokens": {"kept": 8, "of": 10, "corpus": "c.txt"},
        "dimensions": {"kept": 4, "of": 8},
    }
    write_manifest(
        directory,
        **{
            "variants": [*graphs, engine],
            "source": {"checkpoint": "made by hand", "pooling": "mean"},
            "embedding_ranges": RangesRecord(RANGES, "some", 3),
            "trimming": trimming,
            "default_prompt_name": "query",
            **changes,
        },
    )
    path = directory / QUALITY_FILE
    content = json.loads(path.read_text())
    if "fp16" not in content["variants"]:
        path.write_text(json.dumps(card(content)))
        full(directory, **changes)


def card(content: dict[str, Any]) -> dict[str, Any]:
    """Return a quality card with every member that it can have."""
    figures = {"value": 80.0, "interval": [79.0, 81.0]}
    compared = {**figures, "difference": -0.1, "difference_interval": [-0.2, 0.1]}
    parity = {
        **content["variants"]["fp32"],
        "batch_independence_difference": 0.0,
        "mean_score_difference": 1e-7,
        "worst_texts": [["a text", 0.99]],
    }
    return {
        **content,
        "variants": dict.fromkeys(("fp32", "int8", "fp16"), parity),
        "agreement": {
            "texts": 10,
            "data": "some",
            "variants": {
                key: {"cosine": 0.99, "neighbours": 0.9, "source_cosine": 0.9}
                for key in ("fp32", "int8")
            },
        },
        "task": {
            "measure": "spearman",
            "rows": 100,
            "data": "pairs.csv",
            "confidence": 0.95,
            "resamples": 1000,
            "checkpoint": figures,
            "source": figures,
            "variants": dict.fromkeys(("fp32", "int8"), compared),
        },
        "machine": {"cpu": "one", "cpu_flags": ["avx2"], "cores": 2, "system": "Linux"},
    }


#: The same file serves for other heads: the graph returns four numbers.
HEADS: dict[str, dict[str, Any]] = {
    "embed": {},
    "classify": {
        "similarity": "",
        "labels": list("wxyz"),
        "activation": "softmax",
        "embedding_ranges": None,
    },
    "score": {
        "similarity": "",
        "labels": list("wxyz"),
        "activation": "softmax",
        "scored_label": "x",
        "embedding_ranges": None,
    },
    "tag": {"similarity": "", "labels": list("wxyz"), "embedding_ranges": None},
    "sparse": {"similarity": "dot", "max_active_dims": 3, "embedding_ranges": None},
    "tokens": {
        "similarity": "maxsim",
        "late_interaction": LateInteraction(4, 4, 3, 2),
        "embedding_ranges": None,
    },
}


def everything(directory: Path) -> None:
    """Call everything that reads an artifact's descriptions."""
    artifact = Artifact.open(directory)
    artifact.verify()
    quality = artifact.quality()
    inspect.describe(artifact, quality)
    manifest = artifact.manifest
    model = load(directory, threads=1)
    ask(model, [("a", "b")] if manifest.head_record.takes_pairs else ["a b", "zz"])
    if manifest.head == "embed":
        model.encode(["a"], precision="int8")


def signed(content: dict[str, Any]) -> bytes:
    made = {name: value for name, value in content.items() if name != "sha256"}
    return manifest_module._canonical({**made, "sha256": manifest_module._digest(made)})


@cases(1_100)
@given(data=st.data())
def test_manifests(artifact: Path, data: st.DataObject) -> None:
    head = data.draw(st.sampled_from(sorted(HEADS)))
    path = artifact / MANIFEST_FILE
    if not (base := _BASES.get(head)):
        full(artifact, head=head, **HEADS[head])
        base = _BASES[head] = json.loads(path.read_text())
    content, is_served = data.draw(forged(base)), data.draw(st.integers(0, 9)) == 0
    with suppress(ValueError, AttributeError, RecursionError):
        content = signed(json.loads(content))
    path.write_bytes(content)
    use(lambda: everything(artifact))
    if is_served:
        use(lambda: write_and_remove(artifact))


_BASES: dict[str, dict[str, Any]] = {}


def write_and_remove(artifact: Path) -> None:
    repository = artifact.with_name("repository")
    try:
        write_repository([artifact], repository)
    finally:
        shutil.rmtree(repository, ignore_errors=True)


@cases(700)
@given(data=st.data())
def test_cards(artifact: Path, data: st.DataObject) -> None:
    head = data.draw(st.sampled_from(("embed", "classify")))
    path = artifact / QUALITY_FILE
    if not (base := _CARDS.get(head)):
        base = _CARDS[head] = card(
            {"texts": 1, "data": "none", "variants": {"fp32": _CARD_FIGURES}}
        )
    path.write_bytes(data.draw(forged(base)))
    full_with_card(artifact, head)
    use(lambda: everything(artifact))
    with redirect_stdout(io.StringIO()) as shown:
        use(lambda: inspect.run(Namespace(artifact=str(artifact), json=True)))
    assert not shown.getvalue() or isinstance(json.loads(shown.getvalue()), dict)


_CARDS: dict[str, dict[str, Any]] = {}
_CARD_FIGURES = {"cosine_min": 1.0, "cosine_mean": 1.0, "batch_independence_cosine": 1.0}


def full_with_card(artifact: Path, head: str) -> None:
    """Sign the files as they are, whatever the card contains."""
    path = artifact / QUALITY_FILE
    content = path.read_bytes()
    path.write_text(json.dumps({"variants": {"fp16": {}}}))
    full(artifact, head=head, **HEADS[head])
    path.write_bytes(content)
    manifest = json.loads((artifact / MANIFEST_FILE).read_text())
    manifest["files"][QUALITY_FILE] = asdict(manifest_module.FileRecord.of(path))
    (artifact / MANIFEST_FILE).write_bytes(signed(manifest))


@cases(250)
@given(data=st.data())
def test_files_of_an_artifact(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Forge tokenizers, vocabularies, ranges and graphs, which libraries read without checks."""
    directory = tmp_path_factory.mktemp("files") / "words.lanner"
    write_word_artifact(directory)
    extremes = np.array([[-2.0] * 4, [2.0] * 4], np.float32)
    EmbeddingRanges(extremes, np.ones(4, np.float32)).write(directory / RANGES)
    name = data.draw(st.sampled_from(("tokenizer.json", "words", RANGES, "model.fp32.onnx")))
    changes: dict[str, Any] = {"embedding_ranges": RangesRecord(RANGES, "some", 3)}
    if name == "words":
        name = "tokenizer.json"
        vocabulary = {
            "type": "lanner-words",
            "do_lower_case": True,
            "stop_words": ["the"],
            "words": ["[PAD]", "[UNK]", *"abcdef"],
        }
        content = data.draw(forged(vocabulary))
        changes["tokenizer"] = manifest_module.TokenizerRecord(name, 4, 0, "words")
    elif name == "tokenizer.json":
        content = data.draw(forged(json.loads((directory / name).read_text())))
    else:
        content = data.draw(damaged((directory / name).read_bytes()))
    (directory / name).write_bytes(content)
    write_manifest(directory, **changes)
    use(lambda: everything(directory))


@cases(700)
@given(data=st.data())
def test_stored_choices(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory, base = _tuned(tmp_path_factory)
    path = tuning_file(Artifact.open(directory))
    path.write_bytes(data.draw(forged(base)))
    is_stored = data.draw(st.integers(0, 3)) == 0
    assert use(lambda: load(directory, threads=1).encode("a")) is None  # at worst it is not used
    if is_stored:
        use(lambda: store_choice(Artifact.open(directory), CHOICE, threads=1))


CHOICE = Choice(
    Configuration("onnxruntime", "fp32", 1, 512), "latency", 1.5, 1.1, "", "2026-01-01T00:00:00Z"
)
_TUNED: list[tuple[Path, Any]] = []


def _tuned(factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    if not _TUNED:
        directory = write_word_artifact(factory.mktemp("tuned") / "words.lanner")
        content = json.loads(store_choice(Artifact.open(directory), CHOICE, threads=1).read_text())
        content["entries"].append({"key": machine_key(7), "choice": CHOICE.to_json()})
        _TUNED.append((directory, content))
    return _TUNED[0]


TEXTS = "\n".join(json.dumps({"id": n, "text": f"text {n}"}) for n in range(6)) + "\n"


def bulk(directory: Path, suffix: str, *, stops: bool = False) -> None:
    """Encode six rows in two chunks; a run that is stopped has finished the first."""

    def encode(texts: list[str]) -> Any:
        if stops and "text 5" in texts:
            raise KeyboardInterrupt
        return np.array([[len(text), 1] for text in texts], np.float32).reshape(-1, 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lanner.files.bulk.CHUNK_ROWS", 3)
        output = directory / f"out{suffix}"
        columns = Columns(["text"], () if suffix == ".npy" else ("id",))
        with open_rows(directory / "in.jsonl", columns) as rows:
            Bulk(rows, encode, output, identity={"variant": "fp32"}, skips_bad_rows=True).run()


@cases(700)
@given(data=st.data())
def test_partial_outputs(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from((".npy", ".jsonl", ".parquet")))
    directory, files = _partial(tmp_path_factory, suffix)
    partial = directory_of(directory / f"out{suffix}")
    partial.mkdir(exist_ok=True)
    for name, content in files.items():
        (partial / name).write_bytes(content)
    if data.draw(st.integers(0, 4)) == 0:
        (partial / "body").write_bytes(data.draw(damaged(files["body"])))
    else:
        state = data.draw(forged(json.loads(files["state.json"])))
        (partial / "state.json").write_bytes(state)
    use(lambda: bulk(directory, suffix))


_PARTIAL: dict[str, tuple[Path, dict[str, bytes]]] = {}


def _partial(factory: pytest.TempPathFactory, suffix: str) -> tuple[Path, dict[str, bytes]]:
    if suffix not in _PARTIAL:
        directory = factory.mktemp("partial")
        (directory / "in.jsonl").write_text(TEXTS)
        with suppress(KeyboardInterrupt):
            bulk(directory, suffix, stops=True)
        found = directory_of(directory / f"out{suffix}").iterdir()
        _PARTIAL[suffix] = directory, {path.name: path.read_bytes() for path in found}
    return _PARTIAL[suffix]
