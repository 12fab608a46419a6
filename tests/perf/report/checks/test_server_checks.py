from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.server_report import CACHED, HERE, PLAIN, TOKENS, server_report

from lanner_perf.report.checks import checks_of
from lanner_perf.report.content import headlines

FIVE = [
    "one text: p50 ms beyond in process",
    "one call: texts/s, of in process",
    "16 callers: texts/s, of the repository by hand",
    "16 callers: p50, of the repository by hand",
    "16 callers: texts of a run of the model",
]


def test_what_must_hold() -> None:
    checks = {check.what: check for check in checks_of(server_report())}
    assert list(checks)[:5] == FIVE
    assert [(checks[what].measured, checks[what].bound) for what in FIVE] == [
        (pytest.approx(0.2), 1.5),  # 1 ms beside 0.8 ms
        (pytest.approx(0.8), 0.7),
        (pytest.approx(2.5), 2.0),
        (pytest.approx(0.5), 1.0),
        (5.0, 4.0),
    ]
    assert {checks[what].holds for what in FIVE} == {True}
    assert checks[FIVE[0]].of == f"{TOKENS} / {HERE}"
    assert checks[FIVE[2]].of == f"{TOKENS} / {PLAIN}"
    alike = checks["smallest cosine of a text with itself in process"]
    assert (alike.measured, alike.bound, alike.holds) == (0.99995, 0.9999, True)
    assert checks["minutes for the whole report"].measured == 10


@pytest.mark.parametrize(
    ("key", "value", "number"),
    [
        (("latency_ms", "rounds"), [[2.4, 0, 0, 0]] * 3, 0),
        (("throughput", "short", "rounds"), [600.0, 610.0, 620.0], 1),
        (("concurrency", "16", "rounds", 0, "texts_per_s"), 200.0, 2),
        (("concurrency", "16", "texts_per_run"), 3.9, 4),
    ],
    ids=["latency", "bulk", "callers", "batch"],
)
def test_what_does_not_hold(key: tuple[Any, ...], value: Any, number: int) -> None:
    report = server_report()
    part = report["subjects"][2]
    for name in key[:-1]:
        part = part[name]
    part[key[-1]] = value
    assert [check.holds for check in checks_of(report)].index(False) == number


def test_without_anyone_to_compare_with() -> None:
    report = server_report()
    report["subjects"] = report["subjects"][2:]
    checks = {check.what: check for check in checks_of(report)}
    assert list(checks)[:2] == FIVE[:2]
    missing = [checks[what].missing for what in FIVE[:2]]
    assert missing == ["in process: the figure was not measured"] * 2
    alike = checks["smallest cosine of a text with itself in process"]
    assert (alike.holds, alike.missing) == (None, "in process: the figure was not measured")
    assert FIVE[2] not in checks


def test_a_way_that_answers_otherwise_is_named() -> None:
    report = server_report()
    report["subjects"][3]["quality"]["cosine_min"] = 0.5
    alike = checks_of(report)[5]
    assert (alike.measured, alike.of, alike.holds) == (0.5, CACHED, False)


def test_what_was_not_measured_on_the_server() -> None:
    report = server_report()
    del report["subjects"][2]["latency_ms"], report["subjects"][2]["concurrency"]
    checks = checks_of(report)
    assert [check.missing for check in checks[:5]] == [
        "on the server: the figure was not measured",
        "",
        *["on the server: the figure was not measured"] * 3,
    ]


def test_the_headlines() -> None:
    assert [(one.text, one.what) for one in headlines(server_report())] == [
        ("+0.20 ms", FIVE[0]),
        ("0.80x", FIVE[1]),
        ("2.50x", FIVE[2]),
        ("0.50x", FIVE[3]),
    ]
