"""The service against its own description and TEI's, tested by schemathesis: `make clients`.

TEI_DESCRIPTION names TEI's file, `docs/openapi.json` of its repository. SCHEMATHESIS_EXAMPLES=150
makes more than 10,000 cases of both together.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.service import Service, serving
from tests.support.word_artifact import write_word_artifact

from lanner.artifact.artifact import Artifact

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[2] / "build/clients/schemathesis/bin/schemathesis"
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "2")
#: No 5xx, and no answer with a status, type or form that is not described.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def service(
    scorer_artifact: Artifact,
    classifier_artifact: Artifact,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    words = write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")
    others = {"scorer": scorer_artifact.directory, "classifier": classifier_artifact.directory}
    with serving({"words": words, **others}) as running:
        yield running


def drive(service: Service, description: str) -> int:
    """Test a service by a description, and return the number of cases."""
    if not PROGRAM.is_file():
        pytest.skip("schemathesis is not there: make clients")
    options = {
        "url": service.url,
        "checks": ",".join(CHECKS),
        "max-examples": EXAMPLES,
        "phases": "examples,coverage,fuzzing",
        "seed": "21",
        "generation-database": "none",
        "warnings": "off",
    }
    done = subprocess.run(
        [
            str(PROGRAM),
            "--no-color",
            "run",
            description,
            *(f"--{name}={value}" for name, value in options.items()),
            "--continue-on-failure",
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=PROGRAM.parent,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    found = re.search(r"Test cases:\s+([\d,]+) generated, ([\d,]+) passed", done.stdout)
    assert found is not None, done.stdout[-2_000:]
    return int(found[1].replace(",", ""))


def test_our_own_description_holds(service: Service) -> None:
    assert drive(service, f"{service.url}/openapi.json") > 500
    assert service.get("/ready").status == 200


def deviating(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description of TEI with Lanner's differences (docs/guide/serve.md)."""
    paths = description["paths"]
    for operations in paths.values():
        for operation in operations.values():
            if "requestBody" in operation:
                # One service has several models, which a request may name, and other limits.
                for status in ("404", "415", "424", "429"):
                    operation["responses"].setdefault(status, {"description": "a refusal"})
    # Errors of OpenAI's route have OpenAI's shape, and not TEI's.
    of_openai = paths["/v1/embeddings"]["post"]["responses"]
    for status in set(of_openai) - {"200"}:
        of_openai[status] = {"description": "an error of OpenAI"}
    return description


def test_the_description_of_tei_holds(service: Service, tmp_path: Path) -> None:
    given = os.environ.get("TEI_DESCRIPTION")
    if given is None:
        pytest.skip("TEI_DESCRIPTION does not name the description of TEI")
    description = deviating(json.loads(Path(given).read_text(encoding="utf-8")))
    path = tmp_path / "tei.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    assert drive(service, str(path)) > 100
    assert service.get("/ready").status == 200
