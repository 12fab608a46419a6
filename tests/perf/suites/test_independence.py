import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")

from lanner_perf.subjects.workloads import build_workloads
from lanner_perf.suites.independence import BATCH_TEXTS, PROBES, draw_batches


def test_every_batch_holds_probes_among_others() -> None:
    workloads = build_workloads(None)
    draw = draw_batches(workloads, 200)
    assert len(draw.batches) == 200
    assert len(draw.probes) == len(set(draw.probes)) == PROBES
    assert {row for rows, _ in draw.batches for row in rows} == set(range(PROBES))
    for rows, others in draw.batches:
        assert len(set(rows)) == 8
        assert len(rows) + len(others) == BATCH_TEXTS
        assert set(others[:4]) <= set(workloads.texts["short"])
        assert set(others[4:]) <= set(workloads.texts["mixed"])


def test_all_subjects_get_the_same_batches() -> None:
    workloads = build_workloads(None)
    assert draw_batches(workloads, 5) == draw_batches(workloads, 5)
    assert draw_batches(workloads, 5).batches[0] != draw_batches(workloads, 5).batches[1]


def test_fewer_texts_than_probes() -> None:
    workloads = build_workloads(None).shortened(short=3)
    draw = draw_batches(workloads, 2)
    assert len(draw.probes) == 3
    assert [sorted(rows) for rows, _ in draw.batches] == [[0, 1, 2], [0, 1, 2]]
