"""The simulation of a job over a large corpus."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lanner_perf", reason="needs lanner-bench")

from lanner_perf.elastic.batch_job import Cluster, Corpus, by_queue, by_share, main, report

RESULT = Path(__file__).parents[3] / "perf/results/2026-12-01-bench-minilm-zen4-2-cores.json"


def test_a_long_fragment_is_bad_at_the_end_and_harmless_at_the_beginning() -> None:
    pair = Cluster(2, start_s=3)
    first = by_queue([4, 1, 1, 1, 1], pair)
    # The one worker takes 4, the other 1 + 1 + 1 + 1.
    assert first.hours * 3600 == pytest.approx(7)
    assert first.skew == 1
    last = by_queue([1, 1, 1, 1, 4], pair)
    # 1 + 1 + 4 and 1 + 1.
    assert last.hours * 3600 == pytest.approx(9)
    assert last.skew == pytest.approx(6 / 4)
    assert last.worker_hours == pytest.approx(2 * 9 / 3600)
    assert last.longest_fragment_s == 4
    # In equal shares, [1, 1, 1] and [1, 4].
    shared = by_share([1, 1, 1, 1, 4], pair)
    assert shared.skew == pytest.approx(5 / 4)
    assert shared.hours * 3600 == pytest.approx(3 + 5)


def test_reading_and_writing_do_not_become_faster_with_cores() -> None:
    cluster = Cluster(1, cores=4, serial_s_per_row=0.5)
    found = cluster.seconds(np.array([8.0, 4.0]), np.array([2.0, 6.0]))
    assert found.tolist() == [8 / 4 + 2 * 0.5, 4 / 4 + 6 * 0.5]


def test_the_work_of_dead_workers_is_repeated() -> None:
    calm = by_queue([60.0] * 600, Cluster(4))
    assert (calm.deaths, calm.lost_share) == (0, 0)
    assert calm.hours == pytest.approx(600 / 4 / 60)
    # A worker lives an hour, in which it has 60 fragments: the last of them is lost half done.
    dying = by_queue([60.0] * 600, Cluster(4, failures_per_hour=1.0, back_s=0))
    assert dying.deaths == pytest.approx(10, abs=6)
    assert dying.lost_share == pytest.approx(dying.deaths * 0.5 / 600, rel=0.6)
    assert dying.hours > calm.hours


def test_fragments_have_the_time_of_their_texts() -> None:
    corpus = Corpus(np.array([[10.0, 30.0], [80.0, 80.0]]), 100, np.array([0.2, 0.8]))
    core_s, rows = corpus.by_rows(50)
    assert core_s.tolist() == [10, 10, 40, 40]
    assert rows.tolist() == [50] * 4
    # 2,000 and 8,000 tokens.
    core_s, rows = corpus.by_tokens(2_000)
    assert core_s.tolist() == [20] * 5
    assert rows.tolist() == [100, 25, 25, 25, 25]


def test_a_corpus_is_drawn() -> None:
    drawn = Corpus.of(
        10**6, 50, mean_tokens=60, most_tokens=10**6, per_core=lambda tokens: 1e3 / tokens
    )
    assert drawn.tokens.shape == (50, 512)
    assert drawn.tokens.mean() == pytest.approx(60, rel=0.01)
    # A millisecond a token.
    assert drawn.core_s.mean() == pytest.approx(0.06, rel=0.01)
    assert drawn.texts == 20_000
    # Sources differ.
    assert drawn.core_s.max() > 4 * drawn.core_s.min()
    found = report(drawn, Cluster(8, cores=2), fragment_rows=1_000, price_per_core_hour=0.5)
    rows, tokens = (found[f"fragments of equal {of}, by queue"] for of in ("rows", "tokens"))
    ideal_hours = 1e6 * 0.06 / 16 / 3600
    assert tokens["hours"] == pytest.approx(ideal_hours, rel=0.05)
    assert tokens["longest_fragment_s"] < rows["longest_fragment_s"]
    assert tokens["cost"] == pytest.approx(tokens["hours"] * 16 * 0.5)
    shared = found["equal rows, the same number to each node"]
    assert shared["skew"] > rows["skew"]


def test_the_program_reads_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--from", str(RESULT), "--texts", "1000000", "--sources", "20", "--nodes", "2"])
    found = json.loads(capsys.readouterr().out)
    assert found["subject"].startswith("lanner int8 ")
    outcome = found["outcomes"]["fragments of equal tokens, by queue"]
    # The work of the cores, and 10 s to start.
    least = found["core_hours"] / 32
    assert least < outcome["hours"] < 1.2 * least + 10 / 3600
