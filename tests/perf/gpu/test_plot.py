from tests.support.gpu_figures import report_of

from lanner_perf.gpu.plot import draw, shown
from lanner_perf.gpu.report import leave_out

H100 = {"name": "NVIDIA H100 80GB HBM3", "driver": "580.65.06", "cuda": "13.0"}


def test_what_ran_on_what_and_what_did_not() -> None:
    report = report_of(("torch-fp16", 1), ("torch-fp16", 8), ("tensorrt-fp16", 8), gpu=H100)
    (part,) = report["parts"]
    part["versions"] = {"torch": "2.11.0"}
    part["torch"] = {"cuda": "13.0", "cudnn": 91900}
    part["peak_flop_per_s"] = {"fp16": 6.5e14}
    part["gpu_state_at_the_peak"] = {"clocks.sm": "1755", "power.limit": "700.00"}
    for model in ("BERT-base", "BERT-large"):
        shapes = [(batch, 16) for batch in range(1, 6)]
        leave_out(report, model, "onnxruntime-fp32", shapes, "not installed")
    leave_out(report, "BERT-large", "torch-fp16", [(128, 512)], "CUDA out of memory")
    assert (
        shown(report)
        == """\
on NVIDIA H100 80GB HBM3
with driver 580.65.06, its CUDA 13.0, torch 2.11.0, PyTorch's CUDA 13.0, cuDNN 91900
at most fp16 650 TFLOP/s
then clocks.sm 1755, power.limit 700.00

BERT-base: p50 (p99) in ms, and of the peak
tokens  batch           torch-fp16        tensorrt-fp16
------  -----  -------------------  -------------------
    16      1   1.000 (2.000) 1.0%                    -
    16      8  8.000 (16.000) 8.0%  8.000 (16.000) 8.0%

measured: torch-fp16 (PyTorch, fused attention): 2 shapes of BERT-base
measured: tensorrt-fp16 (TensorRT, a profile for each length, CUDA graphs): 1 shape of BERT-base
left out: onnxruntime-fp32, 5 shapes of BERT-base; 5 shapes of BERT-large: not installed
left out: torch-fp16, 128 x 512 of BERT-large: CUDA out of memory"""
    )


def test_a_plot_of_what_there_is() -> None:
    # One subject was not measured alone, and peaks may be unknown.
    report = report_of(("torch-fp16", 1), ("tensorrt-fp16", 8), gpu=H100)
    report["figures"][1]["peak_fraction"] = None
    assert draw("BERT-base", report).startswith(b"\x89PNG")
