from io import BytesIO

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")

from PIL import Image
from tests.support.perf_inputs import small_report

from lanner_perf.report.plot import draw_plot


@pytest.mark.parametrize("has_pairs", [True, False], ids=["spearman", "cosine"])
def test_a_plot_in_black_and_white(has_pairs: bool) -> None:
    report = small_report()
    if not has_pairs:
        for row in report["subjects"]:
            del row["quality"]["spearman"]
    file = BytesIO()
    draw_plot(report, file)
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
    assert pixels.shape == (770, 1430, 3)
    assert np.ptp(pixels, axis=2).max() == 0  # no colour, so nothing can be told by it
    left, right = np.split(pixels[:, :, 0], 2, axis=1)
    for panel in (left, right):
        assert (panel < 64).sum() > 1_000  # axes, points and words
