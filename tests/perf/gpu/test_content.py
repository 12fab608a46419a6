import pytest
from tests.support.gpu_figures import report_of

from lanner_perf.gpu.content import gpu_charts, gpu_page
from lanner_perf.gpu.record import leave_out
from lanner_perf.record.tables import Cell
from lanner_perf.report.terminal import terminal_text

H100 = {"name": "NVIDIA H100 80GB HBM3", "driver": "580.65.06", "cuda": "13.0"}


def test_what_ran_on_what_and_what_did_not() -> None:
    report = report_of(("torch-fp16", 1), ("torch-fp16", 8), ("tensorrt-fp16", 8), gpu=H100)
    (part,) = report["parts"]
    part |= {"created": "2026-11-22T08:25:19Z", "command": "gpu.bench", "whole_s": 90.0}
    part["lanner"], part["versions"] = "0.1.0", {"torch": "2.11.0"}
    part["torch"] = {"cuda": "13.0", "cudnn": 91900}
    part["peak_flop_per_s"] = {"fp16": 6.5e14}
    part["gpu_state_at_the_peak"] = {"clocks.sm": "1755", "power.limit": "700.00"}
    for model in ("BERT-base", "BERT-large"):
        shapes = [(batch, 16) for batch in range(1, 6)]
        leave_out(report, model, "onnxruntime-fp32", shapes, "not installed")
    leave_out(report, "BERT-large", "torch-fp16", [(128, 512)], "CUDA out of memory")
    page = gpu_page(report)
    assert (
        terminal_text(page)
        == """\
NVIDIA H100 80GB HBM3: engines beside each other
2026-11-22. Models of random weights, one batch after the other.

BERT-base: p50 in ms
                                  torch-fp16                         tensorrt-fp16
------  ------------------------------------  ------------------------------------
16 x 1   1.000 (p99 2.000; 1.0% of the peak)                                     -
16 x 8  8.000 (p99 16.000; 8.0% of the peak)  8.000 (p99 16.000; 8.0% of the peak)

What ran
               what it is                                                     measured
-------------  ------------------------------------------------  ---------------------
torch-fp16     PyTorch, fused attention                          2 shapes of BERT-base
tensorrt-fp16  TensorRT, a profile for each length, CUDA graphs   1 shape of BERT-base

not measured: onnxruntime-fp32, 5 shapes of BERT-base; 5 shapes of BERT-large: not installed
not measured: torch-fp16, 128 x 512 of BERT-large: CUDA out of memory"""
    )
    assert page.conditions["Part 1"] == (
        "gpu.bench, 2026-11-22T08:25:19Z, 1.5 minutes, fp16 at most 650 TFLOP/s, clocks.sm 1755 "
        "then, power.limit 700.00 then"
    )
    assert [[cell.text for cell in row] for row in page.versions.rows] == [
        ["driver", "580.65.06"],
        ["its CUDA", "13.0"],
        ["lanner", "0.1.0"],
        ["torch", "2.11.0"],
        ["PyTorch's CUDA", "13.0"],
        ["cuDNN", "91900"],
    ]
    assert page.tables[0].rows[1][1] == Cell("8.000", "p99 16.000", "8.0% of the peak")


def test_plots_of_what_there_is() -> None:
    pytest.importorskip("matplotlib", reason="needs lanner-bench")
    # One subject was not measured with a single text, and peaks may be unknown.
    report = report_of(("torch-fp16", 1), ("tensorrt-fp16", 8), gpu=H100)
    report["figures"][1]["peak_fraction"] = None
    charts = {chart.name: chart for chart in gpu_charts(report)}
    assert list(charts) == [
        "BERT-base-p50",
        "BERT-base-texts-per-s",
        "BERT-base-peak-fraction",
    ]
    assert charts["BERT-base-p50"].alt == (
        "Lines of p50, ms over tokens of a text. At the end of the lines: The lowest is 1.0 of "
        "torch-fp16, the highest 1.0 of torch-fp16."
    )
    assert "tensorrt-fp16" not in charts["BERT-base-peak-fraction"].alt
