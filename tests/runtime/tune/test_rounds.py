from pathlib import Path
from types import SimpleNamespace

import pytest

from lanner.artifact.artifact import Artifact
from lanner.loading.configuration import Configuration
from lanner.tune import rounds as module
from lanner.tune.rounds import Rounds

NARROW, WIDE, ALONE = (
    Configuration("onnxruntime", "fp32", workers, budget)
    for workers, budget in ((2, 64), (2, 512), (1, 512))
)


@pytest.fixture
def timer(word_artifact: Path) -> Rounds:
    steps: list[str] = []
    timer = Rounds(
        Artifact.open(word_artifact),
        goal="throughput",
        threads=2,
        tell=steps.append,
    )
    timer.inputs = ["a", "b c", "d"]
    timer.told = steps  # type: ignore[attr-defined]
    return timer


def test_rounds_are_interleaved_and_every_other_goes_back(
    timer: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, int]] = []

    def ask(model: object, inputs: list[str]) -> None:
        runner = model.runner  # type: ignore[attr-defined]
        order.append((f"{runner.workers} x {runner.token_budget}", len(inputs)))

    monkeypatch.setattr(module, "ask", ask)
    costs = timer.run([NARROW, WIDE, ALONE], rounds=2, step="in turn")
    assert order[:3] == [("2 x 64", 1), ("2 x 512", 1), ("1 x 512", 1)]  # warming up
    assert order[3:6] == [("2 x 64", 3), ("2 x 512", 3), ("1 x 512", 3)]
    assert order[6:] == [("1 x 512", 3), ("2 x 512", 3), ("2 x 64", 3)]
    assert {configuration: len(found) for configuration, found in costs.items()} == {
        NARROW: 2,
        WIDE: 2,
        ALONE: 2,
    }
    assert len(timer.told) == 9  # type: ignore[attr-defined]


def test_token_budgets_share_an_engine(timer: Rounds) -> None:
    models = timer.open([NARROW, WIDE, ALONE])
    assert models[NARROW].runner.engine is models[WIDE].runner.engine
    assert models[NARROW].runner.engine is not models[ALONE].runner.engine
    assert models[WIDE].runner.token_budget == 512


def test_latency_is_the_median_of_texts_alone(
    timer: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(module, "ask", lambda _, inputs: asked.append(inputs))
    # A clock that is read before and after each text.
    times = iter([0.0, 0.1, 1.0, 1.5, 2.0, 2.2])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    timer.goal = "latency"
    (model,) = timer.open([ALONE]).values()
    assert timer.cost(model, ["a", "b c", "d"]) == pytest.approx(0.2)
    assert asked == ["a", "b c", "d"]


def test_throughput_is_of_all_texts_at_once(timer: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.6])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    (model,) = timer.open([ALONE]).values()
    assert timer.cost(model, ["a", "b c", "d"]) == pytest.approx(0.2)


def test_rounds_are_counted_and_no_time_is_promised(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    timer = Rounds(Artifact.open(word_artifact), goal="throughput", threads=1, tell=told.append)
    timer.inputs = ["a"]
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def ask(*_: object) -> None:
        now[0] += 3

    monkeypatch.setattr(module, "ask", ask)
    timer.plan(4)
    timer.run([ALONE], rounds=2, step="in turn")
    assert told == [  # warm-up does not count as a round
        "in turn: round 1 of at most 4, 0 s so far",
        "in turn: round 1 of at most 4, 3 s so far",
        "in turn: round 2 of at most 4, 6 s so far",
    ]
