import pytest

pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")

from lanner_perf.triton_report import (
    CALLERS,
    IN_PROCESS,
    MAIN,
    PLAIN,
    Figures,
    checks,
    markdown,
)


def figures(rate: float, p50_ms: float, bulk_per_s: float | None, batch: float | None) -> Figures:
    """The same figures for any number of callers, in two rounds."""
    found = Figures()
    for callers in CALLERS:
        found.calls_per_s[callers] = [rate, rate]
        found.p50_ms[callers] = [p50_ms, p50_ms]
        found.p99_ms[callers] = [2 * p50_ms, 2 * p50_ms]
        found.cpu_ms[callers] = {"client": [0.5, 0.5]}
        if batch is not None:
            found.mean_batch[callers] = [batch, batch]
            found.cpu_ms[callers] |= {"server": [0.25, 0.25], "model": [1.0, 1.0]}
            found.server_ms[callers] = {"queue": [3.0, 3.0], "model": [7.0, 7.0]}
    if bulk_per_s is not None:
        found.bulk_per_s = [bulk_per_s, bulk_per_s]
    return found


def measured(*, rate: float = 900, batch: float = 5) -> dict[str, Figures]:
    return {
        IN_PROCESS: figures(2_000, 0.5, 3_000, None),
        PLAIN: figures(400, 4, None, 1.25),
        MAIN: figures(rate, 1.75, 2_400, batch),
    }


def test_what_must_hold() -> None:
    held = checks(measured())
    assert [(check.asked, check.values, check.holds) for check in held] == [
        ("at least 2", [2.25, 2.25], True),
        ("at least 4", [5, 5], True),
        ("below 1", [0.4375, 0.4375], True),
        ("at most 1.5", [1.25, 1.25], True),
        ("at least 0.7", [0.8, 0.8], True),
    ]


@pytest.mark.parametrize(
    ("changes", "number"), [({"rate": 799.0}, 0), ({"batch": 3.9}, 1)], ids=["rate", "batch"]
)
def test_what_does_not_hold(changes: dict[str, float], number: int) -> None:
    assert [check.holds for check in checks(measured(**changes))].index(False) == number


def test_the_page() -> None:
    found = measured()
    page = markdown(found, checks(found), {"machine": "a machine"})
    assert "- machine: a machine\n" in page
    assert "| at least 2 | 2.25 (2.25 to 2.25) | yes |" in page
    assert "| in process | 2,000 | 2,000 | 2,000 | 2,000 | 2,000 | 3,000 |" in page
    assert f"| {PLAIN} | 400 | 400 | 400 | 400 | 400 |  |" in page
    assert f"| {MAIN} | 0.50 | 0.25 | 1.00 | 3.0 | 7.0 | 5.0 |" in page
    assert f"| {IN_PROCESS} | 0.50 |  |  |  |  |  |" in page
