from pathlib import Path

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
        tell=lambda step, _: steps.append(step),
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
    assert timer.told == ["in turn"] * 9  # type: ignore[attr-defined]


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
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    timer.goal = "latency"
    (model,) = timer.open([ALONE]).values()
    assert timer.cost(model, ["a", "b c", "d"]) == pytest.approx(0.2)
    assert asked == ["a", "b c", "d"]


def test_throughput_is_of_all_texts_at_once(timer: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.6])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    (model,) = timer.open([ALONE]).values()
    assert timer.cost(model, ["a", "b c", "d"]) == pytest.approx(0.2)


def test_what_is_left_is_told_by_the_rounds_so_far(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float | None] = []
    timer = Rounds(
        Artifact.open(word_artifact),
        goal="throughput",
        threads=1,
        tell=lambda _, left_s: left.append(left_s),
    )
    timer.inputs = ["a"]
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def ask(*_: object) -> None:
        now[0] += 3

    monkeypatch.setattr(module, "ask", ask)
    timer.plan(4, 1.0)
    timer.run([ALONE], rounds=2, step="")
    # Before warming up 4 rounds of the 1 s that was guessed. After it 4 s are gone and 1 round is
    # counted; after the next 7 s and 2 rounds.
    assert left == [4, 16, 3 * 3.5]
