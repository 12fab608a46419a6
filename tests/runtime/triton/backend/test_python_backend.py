"""Lanner's models inside the Python backend of a real server."""

from pathlib import Path
from typing import Any

import pytest

from lanner.machine.machine import available_cores
from lanner.triton.repository.serving import Serving
from lanner.triton.server.installation import Installation

pytest.importorskip("tritonclient", reason="needs the triton extra")

from lanner.triton.repository.write import write_repository
from lanner.triton.server.server import TritonServer


@pytest.mark.slow
def test_instances_share_the_cores_that_they_find(
    word_artifact: Path, tmp_path: Path, tritonserver: Installation
) -> None:
    cores = available_cores()
    repository = tmp_path / "repository"
    for name, serving in (
        ("alone", Serving()),
        ("shared", Serving(instances=2)),
        ("crowded", Serving(instances=cores + 1)),
        ("told", Serving(instances=2, cores=2)),
    ):
        write_repository([word_artifact], repository, serving=serving, names=[name], variant="fp32")
    ports: dict[str, Any] = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(repository, **ports, installation=tritonserver) as server:
        log = server.log.text
    runs = "version 1 runs fp32 in onnxruntime, "
    for name in ("alone", "alone_text"):
        assert f"{name} {runs}its instance on {cores} of {cores} cores" in log
    for name in ("shared", "shared_text"):
        assert f"{name} {runs}each of 2 instances on {cores // 2} of {cores} cores" in log
    assert f"told {runs}each of 2 instances on 1 of {cores} cores" in log
    assert f"crowded {runs}each of {cores + 1} instances on 1 of {cores} cores" in log
    warning = (
        f"crowded runs {cores + 1} threads of {cores + 1} instances on {cores} cores, where they "
        "wait for each other: give it fewer in instance_group"
    )
    assert warning in log
    assert log.count("wait for each other") == 2 * (cores + 1)  # and crowded_text, each instance
