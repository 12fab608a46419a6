from pathlib import Path

import pytest

from lanner_perf.peers import Peer, make_peers, peers, quantization_for


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


def test_what_measures_a_peer() -> None:
    peer = Peer("openvino f32", "openvino", "openvino/model.xml", "fp32", compute="f32")
    spec = peer.spec(Path("models"), "python")
    assert (spec.name, spec.path, spec.python) == (
        "sentence-transformers openvino f32",
        "models",
        "python",
    )
    assert spec.options == {
        "backend": "openvino",
        "file": "openvino/model.xml",
        "precision": "fp32",
        "compute": "f32",
    }
    assert spec.is_optional


def test_without_their_environment_every_peer_has_a_reason(tmp_path: Path) -> None:
    reasons = make_peers(
        "x", tmp_path / "gone" / "python", tmp_path, quantization="avx2", calibration=["a"]
    )
    assert set(reasons) == {peer.file for peer in peers("avx2")}
    assert set(reasons.values()) == {
        f"there is no {tmp_path}/gone/python: `make peers` installs it"
    }


def test_an_environment_that_breaks_is_every_peers_reason(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first >&2\necho no such library >&2\nexit 3\n")
    python.chmod(0o755)
    reasons = make_peers("x", python, tmp_path, quantization="avx2", calibration=["a"])
    assert set(reasons.values()) == {"no such library"}
