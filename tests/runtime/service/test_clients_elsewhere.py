"""Clients of other services, unchanged, each in an environment of its own: `make clients`."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.service import Service, serving
from tests.support.word_artifact import write_word_artifact

import lanner
from lanner import ScoringModel
from lanner.artifact.artifact import Artifact

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "tests/support/clients"


@pytest.fixture(scope="module")
def service(
    scorer_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    words = write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")
    with serving({"words": words, "scorer": scorer_artifact.directory}) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "vectors", "ranks"),
    [("langchain", 4, 1), ("llama-index", 2, 2), ("litellm", 5, 3), ("haystack-and-others", 4, 2)],
)
def test_every_client_gets_its_vectors_and_ranks(
    service: Service, scorer_artifact: Artifact, name: str, vectors: int, ranks: int
) -> None:
    python = ROOT / "build/clients" / name / "bin/python"
    if not python.is_file():
        pytest.skip("its environment is not there: make clients")
    offline = {"HF_HUB_OFFLINE": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [str(python), "-P", str(SCRIPTS / f"{name.replace('-', '_')}.py"), service.url],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **offline},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # Of "a" and "b b".
    assert found["vectors"] == [[[1, 0, 0, 0], [0, 1, 0, 0]]] * vectors
    with lanner.load(scorer_artifact.directory, head=ScoringModel) as model:
        best = max(model.score([("a man", "a train"), ("a man", "a man plays")]))
    np.testing.assert_allclose(found["ranks"], [[best]] * ranks, atol=1e-5)
