"""The service at twice its capacity, over many requests and among kills."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from lanner_perf.tools.door_endurance import main


def measured(artifact: Path, output: Path, what: str, *options: str) -> dict[str, Any]:
    assert main([what, str(artifact), "--output", str(output), *options]) == 0, output.read_text()
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_memory_over_many_requests(word_artifact: Path, tmp_path: Path) -> None:
    found = measured(word_artifact, tmp_path / "r.json", "requests", "--requests", "1000")
    assert found["statuses"] == {"200": found["requests"]}
    assert (found["requests"], found["wrong"]) == (1_000, 0)
    assert 0.5 < found["memory_growth"] < 1.2
    assert len(found["memory_mb"]) > 50


def test_workers_that_are_killed_lose_no_answer(word_artifact: Path, tmp_path: Path) -> None:
    found = measured(word_artifact, tmp_path / "k.json", "kills", "--kills", "2")
    assert (found["kills"], found["lost"], found["wrong"]) == (2, 0, 0)
    assert found["right"] > 16


@pytest.mark.slow
def test_a_triton_server_that_is_killed_loses_no_answer(
    word_artifact: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
    options = ("--kills", "2", "--triton", "--patience-s", "120")
    found = measured(word_artifact, tmp_path / "t.json", "kills", *options)
    assert (found["kills"], found["lost"], found["wrong"]) == (2, 0, 0)
    assert found["tries"] > found["right"]  # some came while no server answered


@pytest.mark.slow
def test_at_twice_its_capacity_every_request_is_answered_or_refused(
    word_artifact: Path, tmp_path: Path
) -> None:
    # A deadline that a busy machine keeps too: the queue refuses long before it.
    options = ("--seconds", "8", "--queue-tokens", "2000", "--deadline-s", "60")
    found = measured(word_artifact, tmp_path / "o.json", "overload", *options)
    assert set(found["statuses"]) == {"200", "429"}
    assert 0 < found["answered_p99_s"] <= found["slowest_s"]
