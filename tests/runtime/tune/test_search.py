from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.marks import slow
from tests.support.word_artifact import write_word_artifact

from lanner.artifact.artifact import Artifact
from lanner.artifact.quality_budget import QualityBudget
from lanner.engines.registry import ONNXRUNTIME
from lanner.errors import EngineError, VariantError
from lanner.loading.configuration import Configuration
from lanner.tune import floor as quality_floor
from lanner.tune.floor import QualityFloor
from lanner.tune.rounds import Costs, Rounds
from lanner.tune.search import Effort, Tuning, tune
from lanner.tune.workload import Workload

WORKLOAD = Workload.own(["a", "b c", "a b c d"], "mine.txt")
SMALL = Effort(
    token_budgets=(64,),
    least_round_s=0.0,
    most_round_s=0.0,
    finalists=2,
    middle_rounds=1,
    last_rounds=2,
)
Cost = Callable[[Configuration, int], float]


def configuration(variant: str, workers: int, token_budget: int = 512) -> Configuration:
    return Configuration("onnxruntime", variant, workers, token_budget)


DEFAULT = configuration("fp32", 2)


@pytest.fixture
def artifact(word_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """Return an artifact whose default is fp32 on any machine, and that one engine runs."""
    artifact = Artifact.open(word_artifact)
    monkeypatch.setattr(quality_floor, "ENGINES", (ONNXRUNTIME,))
    monkeypatch.setattr(Artifact, "safe_variants", lambda self: self.manifest.variants)
    return artifact


def tuned_by(
    cost: Cost, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[Tuning, list[list[Configuration]]]:
    """Tune with costs by configuration and number of timings; return the contests too."""
    times: dict[Configuration, int] = {}
    contests = []

    def run(_: Rounds, configurations: Iterable[Configuration], *, rounds: int, step: str) -> Costs:
        listed = list(configurations)
        contests.append(listed)
        costs: Costs = {}
        for one in listed:
            costs[one] = []
            for _number in range(rounds):
                times[one] = times.get(one, 0) + 1
                costs[one].append(cost(one, times[one]))
        return costs

    monkeypatch.setattr(Rounds, "run", run)
    options = {"goal": "throughput", "threads": 2, **options}
    return tune(artifact, WORKLOAD, **options), contests


def test_the_fastest_is_chosen(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    best = configuration("int8", 1, 256)
    costs = {best: 0.5, configuration("int8", 2, 256): 0.6, configuration("int8", 2): 0.9}
    tuning, contests = tuned_by(lambda c, _: costs.get(c, 1.0), artifact, monkeypatch)
    assert (tuning.default, tuning.choice) == (DEFAULT, best)
    assert tuning.of(best).speedup.median == 2
    # Two variants, one and two workers, four token budgets; one engine at a time.
    assert [len(contest) for contest in contests[:4]] == [4, 4, 4, 4]
    assert sum(map(len, contests[4:-2])) == 9  # the better half, and the default
    assert contests[-2][:3] == [DEFAULT, best, configuration("int8", 2, 256)]
    assert contests[-1] == [DEFAULT, best]
    assert [one.configuration for one in tuning.measured[:2]] == [best, DEFAULT]
    assert len(tuning.of(best).costs) == 9


def test_what_the_noise_made_fast_is_not_chosen(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    lucky = configuration("int8", 1, 256)

    def cost(one: Configuration, time: int) -> float:
        # Twice as fast in the first 7 rounds, and in 7 of 9 rounds of the last contest.
        return 0.5 if one == lucky and time not in (9, 12) else 1.0

    tuning, contests = tuned_by(cost, artifact, monkeypatch)
    assert contests[-1] == [DEFAULT, lucky]
    assert tuning.choice == DEFAULT
    assert tuning.of(lucky).speedup.median == 2
    assert tuning.of(lucky).speedup.low == 1


def test_a_slower_best_of_the_last_contest_is_not_chosen(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cost(one: Configuration, time: int) -> float:
        return 1.0 if one == DEFAULT else 0.9 if time <= 7 else 1.1

    tuning, _ = tuned_by(cost, artifact, monkeypatch)
    assert tuning.choice == tuning.default == DEFAULT


def test_the_default_that_is_fastest_needs_no_last_contest(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning, contests = tuned_by(lambda c, _: 1.0 + (c != DEFAULT), artifact, monkeypatch)
    assert tuning.choice == DEFAULT
    assert contests[-1][0] == DEFAULT
    assert len(contests[-1]) > 1


def test_what_is_hopeless_is_timed_no_more(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning, contests = tuned_by(lambda c, _: 1.0 if c == DEFAULT else 2.1, artifact, monkeypatch)
    assert tuning.choice == DEFAULT
    # Only the passes, one engine at a time.
    assert all(len({(one.variant, one.workers) for one in c}) == 1 for c in contests)
    assert max(len(one.costs) for one in tuning.measured) == 2


def test_latency_has_one_token_budget(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning, _ = tuned_by(lambda *_: 1.0, artifact, monkeypatch, goal="latency", threads=12)
    tried = {one.configuration for one in tuning.measured}
    # Of 1, 2, 3, 4, 6 and 12: four evenly spaced, and the last.
    workers_tried = (1, 2, 4, 6, 12)
    assert tried == {configuration(v, n) for v in ("fp32", "int8") for n in workers_tried}


def test_below_the_floor_nothing_is_measured(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(_: QualityFloor, __: str, variant: Any) -> str:
        return "cosine 0.8" if variant.name == "fp32" else ""

    monkeypatch.setattr(QualityFloor, "refusal", refusal)
    tuning, _ = tuned_by(lambda *_: 1.0, artifact, monkeypatch)
    # The plain default is below the floor: the default of the remaining variants takes its place.
    assert tuning.default == tuning.choice == configuration("int8", 2)
    assert {one.configuration.variant for one in tuning.measured} == {"int8"}
    (refused,) = tuning.refused
    assert (refused.engine, refused.variant, refused.reason) == (
        "onnxruntime",
        "fp32",
        "cosine 0.8",
    )


def test_nothing_above_the_floor_is_an_error(tmp_path: Path) -> None:
    moody = Artifact.open(write_word_artifact(tmp_path / "moody", batch_independence=0.99))
    with pytest.raises(
        VariantError,
        match=r"^no variant of .*moody may be chosen for cosine:0.9 on this machine \(fp32 in onnxr"
        r"untime: its answers depend on the batch; int8 in onnxruntime: its .* batch\): ask for",
    ):
        tune(moody, WORKLOAD, goal="latency", threads=1, budget=QualityBudget.parse("cosine:0.9"))


def test_an_engine_that_fails_with_some_workers_is_left_out(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cost(one: Configuration, _: int) -> float:
        if (one.variant, one.workers) == ("int8", 1):
            raise EngineError("out of memory")
        return 1.0

    tuning, _ = tuned_by(cost, artifact, monkeypatch)
    assert [(one.variant, one.reason) for one in tuning.refused] == [
        ("int8", "with 1 workers: out of memory")
    ]
    assert configuration("int8", 1) not in {one.configuration for one in tuning.measured}


@pytest.mark.parametrize("head", ["tiny", *slow("scorer", "classifier", "tagger")])
@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_every_head_is_tuned(head: str, goal: str, request: pytest.FixtureRequest) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    workload = replace(Workload.shipped(artifact.manifest.head, goal), probes=[])
    workload = replace(workload, probes=workload.inputs[:6])
    told: list[str] = []
    tuning = tune(
        artifact,
        workload,
        goal=goal,
        threads=2,
        effort=SMALL,
        tell=told.append,
    )
    assert tuning.inputs == 32
    assert tuning.default == Configuration.default(artifact, threads=2)
    assert {one.configuration.workers for one in tuning.measured} == {1, 2}
    assert all(cost > 0 for one in tuning.measured for cost in one.costs)
    assert told[0] == "quality of fp32 in onnxruntime"


def test_a_round_fills_the_largest_batches(artifact: Artifact) -> None:
    effort = replace(SMALL, most_round_s=1e9)
    tuning = tune(artifact, WORKLOAD, goal="throughput", threads=2, effort=effort)
    # 32 texts of 1, 2 and 4 tokens have 73; for two workers 4 batches of 64 tokens each are 512.
    assert tuning.inputs == 512 * 32 // 73
    effort = replace(effort, most_inputs=100)
    assert tune(artifact, WORKLOAD, goal="throughput", threads=2, effort=effort).inputs == 100
