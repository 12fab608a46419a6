import pytest

pytest.importorskip("torch", reason="needs the export extra")

from lanner_perf.gpu.peaks import gpu_state, measure_peaks, parse_state, torch_facts

#: The answer of nvidia-smi for one GPU.
ANSWER = "P0, 1755, 2619, 1980, 690.31, 700.00, 54, Enabled, Enabled, Disabled\n"


def test_the_state_of_a_gpu_by_its_names() -> None:
    assert parse_state(ANSWER) == {
        "pstate": "P0",
        "clocks.sm": "1755",
        "clocks.mem": "2619",
        "clocks.max.sm": "1980",
        "power.draw": "690.31",
        "power.limit": "700.00",
        "temperature.gpu": "54",
        "persistence_mode": "Enabled",
        "ecc.mode.current": "Enabled",
        "mig.mode.current": "Disabled",
    }


@pytest.mark.parametrize(
    "answer", ["", "No devices were found\n", ANSWER + ANSWER], ids=["none", "words", "two GPUs"]
)
def test_what_is_not_of_one_gpu_is_nothing(answer: str) -> None:
    assert parse_state(answer) == {}


def test_a_cpu_has_a_peak() -> None:
    peaks = measure_peaks("cpu")
    assert peaks.keys() == {"fp32"}
    assert peaks["fp32"] > 1e9
    assert torch_facts("cpu")["threads"] >= 1


@pytest.mark.gpu
def test_a_gpu_has_a_peak_for_each_precision_and_a_state() -> None:
    peaks = measure_peaks("cuda")
    assert peaks.keys() == {"fp32", "tf32", "fp16", "bf16"}
    assert peaks["fp16"] > peaks["fp32"] > 1e11
    state = gpu_state()
    # It is empty in a container without nvidia-smi.
    assert not state or float(state["clocks.sm"]) > 0
