import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.bench_report import bench_report, write_result
from tests.support.server_report import server_report

from lanner.errors import InputError
from lanner_perf.report.results import read_result, require_page, write_report


def test_a_report_is_a_page_with_everything_beside_it(tmp_path: Path) -> None:
    files = write_report(bench_report(), tmp_path / "a.b.html")
    assert {file.name for file in files} == {file.name for file in tmp_path.iterdir()}
    assert {"a.b.html", "a.b.json", "a.b.md", "a.b-throughput.png"} <= {f.name for f in files}
    assert (tmp_path / "a.b-memory.png").read_bytes().startswith(b"\x89PNG")
    assert "](a.b-memory.png)" in (tmp_path / "a.b.md").read_text()
    page = (tmp_path / "a.b.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 8
    assert "http" not in page  # the page needs no other file
    assert read_result(tmp_path / "a.b.json") == bench_report()


def test_a_report_of_a_server_is_read_again(tmp_path: Path) -> None:
    path = write_result(tmp_path / "x.json", server_report())
    assert read_result(path) == server_report()
    damaged = server_report()
    del damaged["server"]["models"][0]["backend"]
    with pytest.raises(InputError, match=r"x\.json is damaged \(KeyError: 'backend'\): measure a"):
        read_result(write_result(path, damaged))


def test_a_place_for_no_page_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: the report is an HTML page: give .* \.html$"):
        require_page(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"^there is no directory .*/no for a\.html: make it "):
        require_page(tmp_path / "no" / "a.html")
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match=r"a\.json is a directory: choose the name of a file$"):
        require_page(tmp_path / "a.html")


def damaged(**changes: Any) -> dict[str, Any]:
    return {**bench_report(), **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not complete JSON: give a .json that 'lanner bench' wrote"),
        ('{"subjects": [', "is not complete JSON: give a .json that 'lanner bench' wrote"),
        ('{"subjects": [], "x": NaN}', "is not complete JSON: give a .json that 'lanner bench'"),
        ("[1]", "is not a result of 'lanner bench': give a .json that it wrote"),
        ('{"name": "other"}', "is not a result of 'lanner bench': give a .json that it wrote"),
        ({"subjects": []}, "has the layout 1, and this Lanner reads 2: measure again, or read it"),
        (damaged(schema=3), "has the layout 3, and this Lanner reads 2: measure again, or read it"),
        (damaged(threads="2"), r"is damaged (its 'threads' is missing or of another type): "),
        (damaged(machine={}), r"is damaged (KeyError: 'cpu'): measure again"),
        (damaged(workloads={"short": 3}), r"is damaged (TypeError: 'int' object is not "),
        (damaged(left_out=[{}]), r"is damaged (KeyError: 'name'): measure again"),
        (damaged(subjects=[]), r"is damaged (it has no subjects): measure again"),
        (damaged(subjects=[3]), r"is damaged (AttributeError: "),
        (damaged(subjects=[{"name": "x"}]), r"is damaged (KeyError: 'kind'): measure again"),
        (
            damaged(subjects=[{"latency_ms": {"rounds": [[1]]}}]),
            r"is damaged (KeyError: 'p50'): measure again",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_no_result_is_one_sentence(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content) if isinstance(content, str) else write_result(path, content)
    with pytest.raises(InputError) as caught:
        read_result(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path} ")


def test_a_missing_or_binary_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json cannot be read \(No such file or direct"):
        read_result(tmp_path / "gone.json")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputError, match=r"x\.png is not complete JSON"):
        read_result(tmp_path / "x.png")


def test_the_floor_and_other_keys_of_a_newer_harness_do_not_disturb(tmp_path: Path) -> None:
    report = {**bench_report(), "something": {"new": 1}}
    assert read_result(write_result(tmp_path / "x.json", report)) == json.loads(json.dumps(report))
