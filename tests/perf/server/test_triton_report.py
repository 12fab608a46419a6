import json
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("psutil", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("torch", reason="the repository by hand")
pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")


from tests.support.checkpoints import bert_checkpoint
from tests.support.report_layout import require_laid_out

from lanner.triton.server.installation import Installation
from lanner_export.export import export
from lanner_perf.bench import BenchReport
from lanner_perf.server.triton_report import main


@pytest.mark.slow
def test_a_server_beside_the_process_and_beside_a_repository_by_hand(
    tritonserver: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = bert_checkpoint(tmp_path / "tiny", dense=False)  # see test_stock.py
    artifact = export(checkpoint, tmp_path / "tiny.lanner")
    options = [artifact.directory, "--checkpoint", checkpoint, "--quick"]
    page = tmp_path / "triton.html"
    assert main([*map(str, options), "--threads", "1", "--output", str(page)]) == 0
    report = json.loads((tmp_path / "triton.json").read_text())
    require_laid_out(report, BenchReport)
    assert {row["name"]: row["kind"] for row in report["subjects"]} == {
        "in process": "lanner",
        "by hand, gRPC": "triton-plain",
        "tokens, gRPC": "triton",
        "texts, gRPC": "triton",
        "tokens, HTTP": "triton",
        "texts, HTTP": "triton",
        "tokens, gRPC, cached": "triton",
        "texts, gRPC, cached": "triton",
    }
    assert report["left_out"] == []
    by_hand = report["subjects"][1]
    assert by_hand["quality"]["cosine_mean"] > 0.9
    assert by_hand["concurrency"]["16"]["texts_per_request"] == 1
    assert by_hand["concurrency"]["1"]["texts_per_run"] == 1
    hits = [row["concurrency"]["1"].get("cached_percent") for row in report["subjects"]]
    assert hits == [None, 0, 0, 0, 0, 0, 100, 100]
    assert not report["server"]["new_texts"]
    assert [check["measured"] is None for check in report["checks"]] == [False] * 7
    printed = capsys.readouterr().out
    assert "16 callers: texts/s, of the repository by hand" in printed
    assert "a client of tritonclient that sends one text a request" in page.read_text()


def test_what_cannot_be_measured_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(tmp_path / "gone"), "--checkpoint", "x", "--output"]
    assert main([*options, str(tmp_path / "a.html")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"lanner_perf.server.triton_report: error: {tmp_path}/gone is not a directory: pass "
        "one that 'lanner export' wrote"
    )
    assert main([*options, str(tmp_path / "a.json")]) == 1
    assert "give a name that ends in .html" in capsys.readouterr().err
