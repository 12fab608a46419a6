from pathlib import Path

import pytest
from tests.support.gpu_figures import report_of

from lanner.errors import InputError
from lanner_perf.gpu.record import leave_out, merged, read_report, write_report

H100 = {"name": "NVIDIA H100 80GB HBM3", "driver": "580.65.06", "cuda": "13.0"}


def test_the_later_figure_stands_and_what_was_measured_is_not_left_out() -> None:
    first = report_of(("torch-fp16", 1), ("torch-fp16", 2))
    leave_out(first, "BERT-base", "tensorrt-fp16", [(1, 16), (2, 16)], "no time was left")
    second = report_of(("torch-fp16", 2), ("tensorrt-fp16", 1))
    second["figures"][0]["p50_ms"] = 1.5
    leave_out(second, "BERT-base", "tensorrt-fp16", [(2, 16)], "out of memory")
    whole = merged({"a.json": first, "b.json": second})
    found = [(row["subject"], row["batch"], row["p50_ms"], row["part"]) for row in whole["figures"]]
    assert found == [
        ("torch-fp16", 1, 1.0, 0),
        ("torch-fp16", 2, 1.5, 1),
        ("tensorrt-fp16", 1, 1.0, 1),
    ]
    assert whole["left_out"] == [
        {
            "model": "BERT-base",
            "subject": "tensorrt-fp16",
            "reason": "out of memory",
            "shapes": [[2, 16]],
        }
    ]
    assert whole["parts"] == first["parts"] + second["parts"]
    assert merged({"": whole}) == whole


def test_parts_of_other_gpus_are_refused() -> None:
    message = (
        r"^b.json was measured on a CPU, and a.json on NVIDIA H100 80GB HBM3 "
        r"\(driver 580.65.06\): merge only results from the same kind of machine$"
    )
    with pytest.raises(InputError, match=message):
        merged({"a.json": report_of(gpu=H100), "b.json": report_of()})


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    report = report_of(("torch-fp16", 1))
    write_report(report, tmp_path / "gpu.json")
    assert read_report(tmp_path / "gpu.json") == report


@pytest.mark.parametrize("content", ["[]", "{", '{"schema": 0, "parts": [1]}', '{"parts": []}'])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "gpu.json").write_text(content)
    with pytest.raises(InputError, match=r"gpu.json is not a result of this version of lanner_p"):
        read_report(tmp_path / "gpu.json")
