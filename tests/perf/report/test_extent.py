import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.bench_report import bench_report
from tests.support.perf_inputs import write_pairs

from lanner_perf.record.schema import SUITES
from lanner_perf.report.extent import Extent

WHOLE = Extent(SUITES, None, 2, None, is_quick=False, command=("lanner", "bench", "a dir"))


def test_how_much_is_measured(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.csv")
    assert WHOLE.plan().rounds == 3
    assert replace(WHOLE, rounds=7).plan().rounds == 7
    quick = replace(WHOLE, is_quick=True, suites=("latency",), pairs=pairs)
    plan = quick.plan()
    assert (plan.threads, plan.suites, plan.rounds, plan.callers) == (2, ("latency",), 1, (1, 16))
    assert len(quick.workloads().texts["short"]) == 60
    assert len(quick.workloads().texts["mixed"]) == 400
    assert len(WHOLE.workloads().texts["mixed"]) == 1_000


def test_what_only_the_whole_run_knows() -> None:
    bare = bench_report()
    for name in ("command", "is_quick", "is_whole", "whole_s", "checks"):
        del bare[name]
    report = WHOLE.finish(bare, begin_s=time.perf_counter() - 60, has_all=True)
    assert report["command"] == "lanner bench 'a dir'"
    assert (report["is_quick"], report["is_whole"]) == (False, True)
    assert report["whole_s"] == pytest.approx(60, abs=5)
    assert [check["what"] for check in report["checks"]] == [
        check["what"] for check in bench_report()["checks"]
    ]
    part = replace(WHOLE, suites=("latency",), is_quick=True)
    assert not part.finish(bare, begin_s=0.0, has_all=True)["is_whole"]
    assert not WHOLE.finish(bare, begin_s=0.0, has_all=False)["is_whole"]
