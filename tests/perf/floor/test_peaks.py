"""The composition of the peaks; their values are not tested."""

import sys
from importlib import util
from pathlib import Path

import pytest

for package in ("torch", "onnxruntime", "onnx"):
    pytest.importorskip(package, reason="needs lanner-bench")

from lanner_perf.floor.peak_process import ONE, THREAD, WORKERS, Rate, spread  # noqa: E402
from lanner_perf.floor.peaks import PRECISIONS, Effort, _peak, measure_peaks  # noqa: E402
from lanner_perf.subjects.subject import SubjectError  # noqa: E402

SMALL = Effort((4, 8), matrices=2, rounds=2, window_s=0.001, layouts=(WORKERS, ONE))


def a_rate(library: str, layout: str, tflop_per_s: float, precision: str = "fp32") -> Rate:
    return {
        "precision": precision,
        "library": library,
        "version": "1",
        "layout": layout,
        "shape": [512, 384, 1536],
        "tflop_per_s": tflop_per_s,
        "rounds": [tflop_per_s],
        "spread": 0.0,
    }


def test_the_peak_is_the_best_of_all_threads() -> None:
    rates = [
        a_rate("a", THREAD, 0.5),
        a_rate("a", WORKERS, 0.8),
        a_rate("b", THREAD, 0.4),
        a_rate("b", ONE, 0.7),
        a_rate("c", WORKERS, 9.0, "int8"),
    ]
    peak = _peak(rates, "fp32", threads=2)
    assert peak is not None
    assert (peak["library"], peak["layout"], peak["tflop_per_s"]) == ("a", WORKERS, 0.8)
    assert peak["tflop_per_s_one_thread"] == 0.5
    assert peak["rates"] == rates[:4]
    assert _peak(rates, "bf16", threads=2) is None
    of_one = _peak(rates[:1], "fp32", threads=1)
    assert of_one is not None
    assert of_one["tflop_per_s"] == 0.5


def test_the_spread_by_hand() -> None:
    assert spread([2.0, 1.0, 4.0]) == 1.5


@pytest.mark.slow
def test_a_real_measurement() -> None:
    matrices = [(8, 16), (16, 8), (999_999, 999_999)]  # of which two are tried
    said: list[str] = []
    peaks = measure_peaks(matrices, 1_000, threads=2, effort=SMALL, progress=said.append)
    assert said == [f"peak of the machine: {WORKERS}", f"peak of the machine: {ONE}"]
    for peak, least in ((peaks["fp32"], 3), (peaks["int8"], 2)):
        assert peak is not None
        assert peak["layout"] in (WORKERS, ONE)
        assert len(peak["rates"]) >= 3 * least  # each library in three layouts
        for rate in peak["rates"]:
            rows, *matrix = rate["shape"]
            assert rows in ((8, 16) if rate["layout"] == ONE else (4, 8))
            assert tuple(matrix) in matrices
            assert len(rate["rounds"]) == 2
            assert min(rate["rounds"]) <= rate["tflop_per_s"] <= max(rate["rounds"])
            assert rate["tflop_per_s"] > 0
    loops = peaks["bandwidth"]["loops"]
    assert set(loops) == {"copy", "triad", "read"}
    assert peaks["bandwidth_gb_per_s"] == max(loop["gb_per_s"] for loop in loops.values())
    assert set(peaks["weights_gb_per_s"]) == set(PRECISIONS)
    assert all(rate > 0 for rate in peaks["weights_gb_per_s"].values())
    missing = {(row["library"], row["precision"]) for row in peaks["left_out"]}
    if util.find_spec("openvino") is None:
        assert {("openvino", "fp32"), ("openvino", "int8")} <= missing
        reason = "ModuleNotFoundError: No module named 'openvino'"
        assert reason in [row["reason"] for row in peaks["left_out"]]
    assert not missing & {(rate["library"], rate["precision"]) for rate in peaks["fp32"]["rates"]}  # type: ignore[index]


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        SubjectError,
        match=r"^the peak of this machine cannot be measured with .*/gone: .*No such",
    ):
        measure_peaks([(8, 8)], 64, threads=1, effort=SMALL, pythons=[str(tmp_path / "gone")])


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such library >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(
        SubjectError,
        match=r"^the peak of this machine could not be measured with .*: no such library$",
    ):
        measure_peaks([(8, 8)], 64, threads=1, effort=SMALL, pythons=[str(python)])


def test_no_interpreter_at_all() -> None:
    with pytest.raises(SubjectError, match=r"without an interpreter: name one$"):
        measure_peaks([(8, 8)], 64, threads=1, effort=SMALL, pythons=[])


def test_the_harness_stays_free_of_libraries() -> None:
    import subprocess  # noqa: PLC0415

    code = "import lanner_perf.floor.peaks, sys; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
