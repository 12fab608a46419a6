"""The native engine behind a real Triton server, in its Python backend."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.loading.load import load
from lanner.triton.repository.serving import Serving
from lanner.triton.server.installation import Installation

pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")
pytest.importorskip("tritonclient", reason="needs the triton extra")

from lanner.triton.client.connection import connect
from lanner.triton.repository.write import write_repository
from lanner.triton.server.server import TritonServer

TEXTS = ["a man is playing a guitar", "the", "a woman plays the guitar and a man is eating food"]


@pytest.mark.slow
def test_a_server_gives_the_bits_of_the_process(
    tiny_artifact: Artifact, tmp_path: Path, tritonserver: Installation
) -> None:
    repository = tmp_path / "repository"
    serving = Serving(engine="native")
    write_repository(
        [tiny_artifact.directory], repository, serving=serving, names=["tiny"], variant="int8"
    )
    own: Any = load(tiny_artifact.directory, engine="native", variant="int8")
    expected = own.encode(TEXTS)
    ports: dict[str, Any] = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(repository, **ports, installation=tritonserver) as server:
        assert "tiny version 1 runs int8 in native" in server.log.text
        assert "tiny_text version 1 runs int8 in native" in server.log.text
        for name in ("tiny", "tiny_text"):
            model: Any = connect(server.grpc_url, name)
            assert model.encode(TEXTS).tobytes() == expected.tobytes()
            for text, vector in zip(TEXTS, expected, strict=True):
                assert np.asarray(model.encode(text)).tobytes() == vector.tobytes()
