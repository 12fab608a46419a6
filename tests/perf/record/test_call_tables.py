import pytest
from tests.support.bench_report import bench_report
from tests.support.server_report import server_report

from lanner_perf.record.call_tables import call_tables, part_loads, server_conditions


def test_where_the_time_of_a_call_goes() -> None:
    one, many, work = call_tables(server_report())
    assert one.title == "Where the time of a call goes: one caller"
    assert many.title == "Where the time of a call goes: 16 callers"
    assert one.header == ["", "ms of a call", "client", "network", "queue", "model"]
    assert [[str(cell) for cell in row] for row in one.rows] == [
        ["1. in process", "6.00 (6.00 to 6.60)", "", "", "", ""],
        [
            "2. by hand, gRPC",
            "16.00 (+10.00; 16.00 to 17.60)",
            "9.00 (9.00 to 9.90)",
            "2.00 (2.00 to 2.20)",
            "0.50 (0.50 to 0.55)",
            "4.50 (4.50 to 4.95)",
        ],
        *[
            [
                name,
                "8.00 (+2.00; 8.00 to 8.80)",
                "1.00 (1.00 to 1.10)",
                "2.00 (2.00 to 2.20)",
                "0.50 (0.50 to 0.55)",
                "4.50 (4.50 to 4.95)",
            ]
            for name in ("3. tokens, gRPC", "4. tokens, gRPC, cached")
        ],
    ]
    assert work.title == "Batches and cores: 16 callers"
    assert [[cell.text for cell in row] for row in work.rows] == [
        ["1. in process", "", "", "", "1.50", "", ""],
        ["2. by hand, gRPC", "4.0", "1.2", "0", "0.25", "", "1.00"],
        ["3. tokens, gRPC", "4.0", "5.0", "0", "0.25", "0.12", "1.00"],
        ["4. tokens, gRPC, cached", "4.0", "", "75", "0.25", "0.12", "1.00"],
    ]
    assert "client: the time of a call outside of its request" in one.note
    assert one.note.endswith("Below each call is its time beyond in process.")


@pytest.mark.parametrize(
    ("measured", "expected"),
    [(("1", "16", "64"), ["1", "16"]), (("2", "8", "4"), ["2", "8"]), (("4",), ["4"]), ((), [])],
)
def test_of_how_many_callers(measured: tuple[str, ...], expected: list[str]) -> None:
    loads = {load: {"client_ms": 1.0} for load in measured}
    rows = [{"concurrency": {"1": {}}}, {"concurrency": loads}, {}]
    assert part_loads({"subjects": rows}) == expected


def test_a_report_of_no_server_has_none_of_it() -> None:
    assert call_tables(bench_report()) == []
    assert server_conditions(bench_report()) == {}


def test_what_was_measured_and_how() -> None:
    report = server_report()
    found = server_conditions(report)
    assert found["Server"] == (
        "Triton 2.51.0 at grpc://localhost:8001 and http://localhost:8000, on this machine, whose "
        "cores it shares"
    )
    assert found["Models"] == (
        "minilm version 1, int8, takes tokens, backend python, 2 instances, batches up to 64, "
        "without response cache; minilm_cached version 1, int8, takes tokens, backend python, "
        "1 instance, batches up to 64, with response cache"
    )
    assert found["One call"].startswith("60 short and 60 mixed texts; ")
    assert {"By hand", "Threads"} <= found.keys()
    assert {"Cache", "Others"} & found.keys() == set()


def test_a_server_elsewhere_that_others_use_and_that_remembers() -> None:
    report = server_report()
    report["subjects"][2]["concurrency"]["16"]["other_requests"] = 1_200
    report["server"] |= {"is_here": False, "new_texts": True}
    found = server_conditions(report)
    assert found["Server"].endswith(", on another machine")
    assert found["Others"].startswith("1,200 requests of other clients reached the models")
    assert "so that the server's cache has never seen them" in found["Cache"]
    assert "Threads" not in found
