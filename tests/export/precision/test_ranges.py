from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

import onnx_ir as ir
from tests.support.graphs import graph

from lanner.errors import ExportError
from lanner_export.precision.ranges import (
    Histogram,
    Range,
    least_squares,
    measure_histograms,
    measure_ranges,
)


@pytest.mark.parametrize(
    ("limits", "scale", "zero"),
    [
        (Range(0.0, 2.55), 0.01, 0),
        (Range(-2.55, 0.0), 0.01, 255),
        (Range(-0.55, 2.0), 0.01, 55),
        (Range(1.0, 2.55), 0.01, 0),  # 0 has a step of its own, whatever the values
        (Range(-2.55, -1.0), 0.01, 255),
        (Range(0.0, 0.0), 1.0, 0),
    ],
)
def test_a_range_has_255_steps_and_one_is_0(limits: Range, scale: float, zero: int) -> None:
    found = limits.scale_and_zero()
    assert found[0] == np.float32(scale)
    assert found[1] == zero
    assert [value.dtype for value in found] == [np.dtype(np.float32), np.dtype(np.uint8)]


def test_the_least_squares() -> None:
    # Steps of 1 represent all values up to 255 exactly, so nothing is clipped.
    exact = Histogram(np.ones(255, np.int64), np.arange(256, dtype=np.float64) + 0.5)
    assert least_squares(exact).high == pytest.approx(255.5, rel=0.03)
    # A million values at 1 and one at 1,000. Clipped at 200 its error is 640,000; the others have
    # a step of 200 / 255 = 0.784 and an error of 0.216 ** 2 each, 46,500 in all. Unclipped, the
    # step is 3.92, and the others are rounded to 0: an error of 1,000,000 in all.
    values = Histogram(np.array([1_000_000, 0, 1]), np.array([0.0, 2.0, 998.0, 1002.0]))
    assert least_squares(values).high < 1002.0


def test_the_least_squares_are_those_of_all_ranges_tried() -> None:
    drawn = np.random.default_rng(0).normal(size=10_000)
    drawn[0] = 40.0
    values = Histogram(*np.histogram(drawn, bins=2_048))

    def error(limits: Range) -> float:
        scale, zero = limits.scale_and_zero()
        steps = np.clip(np.rint(drawn / scale) + zero, 0, 255)
        return float((((steps - zero) * scale - drawn) ** 2).mean())

    found = least_squares(values)
    assert error(found) < error(Range(float(values.edges[0]), float(values.edges[-1])))
    assert found.low > values.edges[0]


def test_histograms_of_a_graph(tmp_path: Path) -> None:
    model = graph(
        "int64[n, t] x",
        "float[n, t] z",
        "y = Cast<to=1>(x)\nh = Mul(y, half)\nz = Neg(h)",
        {"half": np.array(0.5, np.float32)},
    )
    ir.save(model, tmp_path / "m.onnx")
    feeds = [{"x": np.array([[0, 2, 4]])}, {"x": np.array([[-4]])}]
    found = measure_histograms(tmp_path / "m.onnx", ["h", "z"], feeds)
    assert list(found) == ["h", "z"]
    assert found["h"].counts.sum() == found["z"].counts.sum() == 4
    assert (found["h"].edges[0], found["h"].edges[-1]) == (-2.0, 2.0)
    # -2 in the first of 2,048 bins, 0 and 1 at the beginning of theirs, 2 in the last.
    assert np.flatnonzero(found["h"].counts).tolist() == [0, 1024, 1536, 2047]
    ranges = measure_ranges(tmp_path / "m.onnx", ["h"], feeds)
    assert ranges == {"h": least_squares(found["h"])}
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_without_activations_nothing_runs(tmp_path: Path) -> None:
    assert measure_histograms(tmp_path / "gone.onnx", [], []) == {}


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    model = graph(
        "int64[n, t] input_ids",
        "float[n, t] y",
        "x = Cast<to = 1>(input_ids)\ny = Mul(x, w)",
        {"w": np.array([value], np.float32)},
    )
    ir.save(model, tmp_path / "model.onnx")
    feeds = [{"input_ids": np.ones((1, 2), np.int64)}]
    with pytest.raises(ExportError, match=r"^y is not finite for a calibration text: the "):
        measure_histograms(tmp_path / "model.onnx", ["y"], feeds)
