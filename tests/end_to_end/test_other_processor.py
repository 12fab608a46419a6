"""int8 on an emulated processor without VNNI, or without AVX.

The artifacts are exported here, and one process for each kind of processor loads and asks them. An
emulator has no AVX-512, so on a machine without it the comparison with VNNI is left out.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.engines.onnx.test_unsigned_weights import X, expected, write
from tests.support.architectures import MATRIX
from tests.support.cells import MakeCell
from tests.support.int8_answers import Job, all_answers

from lanner.artifact.artifact import (
    BATCH_INDEPENDENT_COSINE,
    BATCH_INDEPENDENT_DIFFERENCE,
    Artifact,
)
from lanner.engines import onnxruntime
from lanner.machine.machine import this_machine
from lanner.models.answers import row_cosines, score_differences

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("openvino", reason="needs the openvino extra")

from lanner_export.export import export

# Emulation takes minutes.
pytestmark = [pytest.mark.other_processor, pytest.mark.no_transformers, pytest.mark.slow]

Answers = dict[str, NDArray[np.float32]]
ROOT = Path(__file__).parents[2]
#: The cells that stand for all others; layers of the last two share their weights.
FEW = [BERT, ALBERT, DEBERTA] = [("BERT", "embed"), ("ALBERT", "classify"), ("DeBERTa", "tag")]


def name_of(cell: tuple[str, str]) -> str:
    return " ".join(cell)


def emulated(cpu: str, jobs: list[Job], directory: Path) -> Answers:
    """Return the answers of the jobs on another processor."""
    program = shutil.which("qemu-x86_64")
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 processor")
    if program is None:
        pytest.skip("needs qemu-x86_64 (Debian: apt-get install qemu-user)")
    (directory / "jobs.json").write_text(json.dumps([job._asdict() for job in jobs]))
    worker = ["-m", "tests.support.int8_answers", "jobs.json", "answers.npz"]
    command = [program, "-cpu", cpu, sys.executable, *worker[:2]]
    command += [str(directory / file) for file in worker[2:]]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=1_200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return dict(np.load(directory / "answers.npz"))


@pytest.fixture(scope="module")
def jobs(
    request: pytest.FixtureRequest,
    make_cell: MakeCell,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Job]:
    """Return the jobs: the tested cells, all cores, OpenVINO, and a graph that saturates."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    found = [spec.params["cell"] for spec in asked if spec is not None and "cell" in spec.params]
    paths = {
        cell: str(make_cell(*cell).artifact.directory) for cell in dict.fromkeys([*FEW, *found])
    }
    made = [Job(name_of(cell), path) for cell, path in paths.items()]
    made.append(Job("all cores", paths[ALBERT], threads=2))
    made.append(Job("openvino", paths[BERT], engine="openvino"))
    graph = write(tmp_path_factory.mktemp("graph") / "shared.onnx")
    made.append(Job("saturating", str(graph), feed=X.tolist()))
    return made


@pytest.fixture(scope="module")
def here(jobs: list[Job]) -> Answers:
    """Return the answers of this processor."""
    return all_answers(jobs)


@pytest.fixture(scope="module")
def haswell(jobs: list[Job], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Return the answers of a processor with AVX2 but without newer instructions."""
    return emulated("Haswell", jobs, tmp_path_factory.mktemp("haswell"))


@pytest.fixture(scope="module")
def nehalem(jobs: list[Job], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Return the answers of a processor without AVX to a few jobs."""
    names = {*map(name_of, FEW), "saturating"}
    few = [job for job in jobs if job.name in names]
    return emulated("Nehalem", few, tmp_path_factory.mktemp("nehalem"))


def require_same(artifact: Artifact, one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    """Check that answers are the same by the measure of batch independence."""
    if artifact.manifest.head == "embed":
        assert row_cosines(one, other).min() >= BATCH_INDEPENDENT_COSINE
    else:
        activation = artifact.manifest.activation
        differences = score_differences(one, other, activation=activation)
        assert differences.max() <= BATCH_INDEPENDENT_DIFFERENCE


def require_answers(artifact: Artifact, name: str, found: Answers, others: Answers) -> None:
    """Check that a variant loads, does not depend on the batch, and is the same elsewhere."""
    assert f"{name} error" not in found, found.get(f"{name} error")
    require_same(artifact, found[f"{name} alone"], found[f"{name} together"])
    require_same(artifact, found[f"{name} alone"], others[f"{name} alone"])


def test_the_emulated_processors_are_what_they_are_called(
    haswell: Answers, nehalem: Answers
) -> None:
    assert haswell["flags"].tolist() == ["avx2"]
    assert nehalem["flags"].tolist() == []


@pytest.mark.parametrize(
    "cell",
    dict.fromkeys([*FEW, *((name, "embed") for name, row in MATRIX.items() if not row.is_rare)]),
    ids=name_of,
)
def test_a_cell_of_the_support_table_with_avx2_alone(
    cell: tuple[str, str], make_cell: MakeCell, haswell: Answers, here: Answers
) -> None:
    require_answers(make_cell(*cell).artifact, name_of(cell), haswell, here)


@pytest.mark.parametrize("cell", FEW, ids=name_of)
def test_a_cell_of_the_support_table_without_avx(
    cell: tuple[str, str], make_cell: MakeCell, nehalem: Answers, here: Answers
) -> None:
    require_answers(make_cell(*cell).artifact, name_of(cell), nehalem, here)


@pytest.mark.parametrize("processor", ["haswell", "nehalem"])
def test_products_do_not_saturate(processor: str, request: pytest.FixtureRequest) -> None:
    found: Answers = request.getfixturevalue(processor)
    np.testing.assert_allclose(found["saturating alone"], expected(), rtol=1e-5)


def test_all_cores_answer_as_one_does(make_cell: MakeCell, haswell: Answers) -> None:
    artifact = make_cell(*ALBERT).artifact
    require_same(artifact, haswell["all cores alone"], haswell[f"{name_of(ALBERT)} alone"])


def test_openvino_promises_what_it_keeps(
    make_cell: MakeCell, haswell: Answers, here: Answers
) -> None:
    artifact = make_cell(*BERT).artifact
    assert bool(here["openvino promised"]) is this_machine().has_fast_int8
    assert not haswell["openvino promised"]
    for found in (here, haswell):
        if found["openvino promised"]:
            require_same(artifact, found["openvino alone"], found["openvino together"])
        # It is always right, but not the same in every batch.
        cosines = row_cosines(found["openvino alone"], found[f"{name_of(BERT)} alone"])
        assert cosines.min() >= 0.99


def test_with_vnni_and_without_the_answers_are_the_same(haswell: Answers, here: Answers) -> None:
    if not this_machine().has_fast_int8:
        pytest.skip("needs a processor with VNNI, which cannot be emulated")
    for name in (f"{name_of(cell)} alone" for cell in FEW):
        np.testing.assert_allclose(haswell[name], here[name], rtol=0, atol=1e-3)


@pytest.mark.parametrize("cell", [ALBERT, DEBERTA], ids=name_of)
def test_an_export_without_vnni_writes_the_same_file(
    cell: tuple[str, str], tmp_path: Path, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Export as if this processor had no VNNI: an emulator takes minutes only to import torch."""
    made = make_cell(*cell)
    slow = replace(this_machine(), cpu_flags=("avx2",))
    monkeypatch.setattr(onnxruntime, "this_machine", lambda: slow)
    target = tmp_path / "out.lanner"
    artifact = export(made.checkpoint, target, precisions=("int8",), warn=lambda _sentence: None)
    assert artifact.quality()["variants"]["int8"]["mean_score_difference"] <= 0.02
    file = "model.int8.onnx"
    assert artifact.manifest.files[file] == made.artifact.manifest.files[file]
