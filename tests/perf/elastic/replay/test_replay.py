"""A short replay: real services, a real haproxy and a real Prometheus, beside its simulation."""

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.word_artifact import write_word_artifact

from lanner.errors import BenchmarkError
from lanner_perf.elastic.autoscaler import DOWN, Rules, Scaling
from lanner_perf.elastic.load_curve import LoadCurve
from lanner_perf.elastic.replay.pod import PacedEngine
from lanner_perf.elastic.replay.pods import Pace, Pods, require_faultless
from lanner_perf.elastic.replay.programs import program
from lanner_perf.elastic.replay.proxy import Proxy
from lanner_perf.elastic.replay.replay import Day, replay
from lanner_perf.elastic.replay.report import Bounds, checks, figures, markdown, pods_for
from lanner_perf.elastic.simulator import Outcome


def outcome(latency_ms: float) -> Outcome:
    """Return an outcome of a request every tenth of a second, and two pods that become four."""
    arrived_s = np.arange(0, 60, 0.1)
    asked = [(0.0, 2), (30.0, 4)]
    return Outcome(arrived_s, np.full(600, latency_ms), [], 0, asked, asked, 60.0)


def test_the_figures_of_a_run() -> None:
    curve = LoadCurve([(0, 60), (30, 60), (30.001, 180), (60, 180)])
    bounds = Bounds(100, 6, 30, capacity=100, target=0.6, least=1)
    assert [pods_for(rate, bounds) for rate in (10, 60, 61, 180)] == [1, 1, 2, 3]
    found = figures(outcome(50), curve, bounds)
    # 30 s of two pods and 30 s of four; an oracle has one and three, fixed sizing three.
    assert found["pod_seconds"] == 180
    assert found["of_oracle"] == pytest.approx(1.5, rel=0.01)
    assert found["of_fixed"] == pytest.approx(1.0)
    assert [kept for _, kept in checks(found)] == [True, True, True, False]
    late = figures(outcome(150), curve, bounds)
    assert late["minutes_within"] == 0
    assert "NOT kept: p99 within the target in 0.0% of minutes" in markdown(late, found, {})


def test_turns_are_changes_of_direction() -> None:
    found = outcome(1)
    found.asked = [(0, 2), (5, 4), (10, 6), (20, 3), (25, 5), (60, 4)]
    assert found.turns(30) == 2  # at 20 and 25
    assert found.turns(50) == 3
    found.asked = [(0, 2), (5, 4)]
    assert found.turns(50) == 0


def test_an_engine_takes_its_time() -> None:
    class Engine:
        name, run_tokens = "quick", 64

        def run(self, inputs: dict[str, np.ndarray], **_: object) -> np.ndarray:
            return np.zeros((len(inputs["attention_mask"]), 4), np.float32)

    slow = PacedEngine(Engine(), 10.0, 5.0)  # type: ignore[arg-type]
    assert (slow.name, slow.run_tokens) == ("quick", 64)
    begin_s = time.perf_counter()
    assert slow.run({"attention_mask": np.array([[1, 1, 1], [1, 0, 0]])}).shape == (2, 4)
    assert time.perf_counter() - begin_s >= 0.030  # 10 and 4 x 5


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(BenchmarkError, match="the replay needs no-such-proxy: install it"):
        program("no-such-proxy")


@pytest.mark.slow
def test_pods_follow_the_load_and_no_request_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[4])
    for name in ("haproxy", "prometheus"):
        try:
            program(name)
        except BenchmarkError as error:
            pytest.skip(str(error))
    artifact = write_word_artifact(tmp_path / "words.lanner")
    scaling = Scaling(0.55, least=1, most=4, down=Rules(60.0, DOWN.policies)).faster(10)
    curve = LoadCurve([(0, 10), (5, 10), (15, 60), (25, 60), (30, 10), (50, 10)])
    day = Day(artifact, Pace(6.0, 12.0), curve, scaling, ["a", "a b", "a b a"], [1, 2, 3])
    found = replay(day, tmp_path)
    real, simulated = found.outcome, found.simulated
    assert (real.lost, found.reasons, found.faults) == (0, [], [])
    assert len(real.latency_ms) == len(simulated.latency_ms)
    most = max(number for _, number in real.asked)
    assert most >= 3  # 60 a second of 30 ms are 1.8 busy pods
    assert real.asked[-1][1] < most
    # Wide: this machine may be busy with other tests.
    assert simulated.pod_seconds == pytest.approx(real.pod_seconds, rel=0.4)


def test_a_pod_that_does_not_start_says_why(tmp_path: Path) -> None:
    pods = Pods(tmp_path / "none", Pace(1, 1), Proxy(1, tmp_path / "control", 1), tmp_path)
    pods.scale(1)
    deadline_s = time.monotonic() + 60
    while not pods.faults:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    said = f"a pod of the replay failed: pod-1 ended with 1 before it was ready: .*{tmp_path}/none"
    with pytest.raises(BenchmarkError, match=said):
        require_faultless(pods)
