"""The measurement of the service beside infinity's server."""

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from lanner.artifact.artifact import Artifact
from lanner.errors import BenchmarkError
from lanner_perf.loading.plain import Embedding
from lanner_perf.peers.environments import Environment
from lanner_perf.peers.peers import ENVIRONMENTS
from lanner_perf.subjects.subject import Spec
from lanner_perf.tools.beside_infinity import infinity, main

PEERS = Path(os.environ.get("LANNER_PEERS", ENVIRONMENTS))


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    Embedding("mean", is_normalized=True, dimension=4, max_tokens=8).write(tmp_path)
    here = Spec("infinity", "infinity", str(tmp_path), python=sys.executable)  # which lacks it
    said = "infinity's server did not start: ModuleNotFoundError: No module named 'infinity_emb'"
    with pytest.raises(BenchmarkError, match=said), infinity(here, 1):
        pass


@pytest.mark.slow
@pytest.mark.skipif(
    not all(Environment(name, PEERS).is_made() for name in ("infinity", "sentence-transformers")),
    reason="needs the environments of 'make peers', in build/peers or LANNER_PEERS",
)
def test_both_services_are_measured_in_one_run(
    minilm_artifact: Artifact,
    minilm_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "services.html"
    options = ["--checkpoint", str(minilm_checkpoint), "--output", str(page), "--quick"]
    options += ["--environments", str(PEERS), "--models", str(tmp_path / "models")]
    main([str(minilm_artifact.directory), *options])
    found = json.loads(capsys.readouterr().out)
    assert found["callers_16_texts_per_s_ratio"] > 0
    report = json.loads(page.with_suffix(".json").read_text())
    kinds = [row["kind"] for row in report["subjects"]]
    assert kinds == ["lanner", "service", "service"]
    cosines = [row["quality"]["cosine_mean"] for row in report["subjects"]]
    assert min(cosines) > 0.98  # they serve the same model
