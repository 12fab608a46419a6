"""Two distributions: Lanner without its benchmarks, and lanner-bench with only them."""

import email
import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lanner import __version__
from lanner.commands import main

pytest.importorskip("hatchling", reason="needs the dev extra")

ROOT = Path(__file__).parents[2]
_BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


def wheel_of(source: Path, directory: Path) -> zipfile.ZipFile:
    """Build the wheel as pip does with hatchling, without a network."""
    command = [sys.executable, "-c", _BUILD, str(directory)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(directory / done.stdout.split()[-1])


def folders(wheel: zipfile.ZipFile) -> set[str]:
    return {name.partition("/")[0] for name in wheel.namelist()}


def text_of(wheel: zipfile.ZipFile, name: str) -> str:
    (found,) = (file for file in wheel.namelist() if file.endswith(f".dist-info/{name}"))
    return wheel.read(found).decode()


def test_the_runtime_and_the_export_stage_come_without_benchmarks(tmp_path: Path) -> None:
    with wheel_of(ROOT, tmp_path) as wheel:
        info = f"lanner-{__version__}.dist-info"
        assert folders(wheel) == {"lanner", "lanner_export", info}
        assert "bench" not in text_of(wheel, "entry_points.txt")
        metadata = email.message_from_string(text_of(wheel, "METADATA"))
    assert metadata["Name"] == "lanner"
    needed = " ".join(metadata.get_all("Requires-Dist", []))
    assert "matplotlib" not in needed
    assert "jinja2" not in needed


def test_the_benchmarks_are_whole_and_alone(tmp_path: Path) -> None:
    with wheel_of(ROOT / "perf", tmp_path) as wheel:
        info = f"lanner_bench-{__version__}.dist-info"
        assert folders(wheel) == {"lanner_perf", info}
        source = ROOT / "perf" / "lanner_perf"
        tracked = subprocess.run(
            ["git", "ls-files", "."], cwd=source, capture_output=True, text=True, check=False
        )
        names = set(tracked.stdout.split()) or {"command.py", "py.typed"}
        files = {name.removeprefix("lanner_perf/") for name in wheel.namelist()}
        # The files that the program reads besides its modules: a template, and the requirements of
        # the peers.
        assert {"py.typed", "report/report.html.jinja", "peers/requirements/light.txt"} <= files
        assert {name for name in names if (source / name).is_file()} <= files
        assert text_of(wheel, "entry_points.txt").split("\n")[:2] == [
            "[lanner.commands]",
            "bench = lanner_perf.command",
        ]
        assert text_of(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text("utf-8")
        metadata = email.message_from_string(text_of(wheel, "METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("lanner-bench", __version__)
    assert "lanner[onnxruntime]==0.1.*" in metadata.get_all("Requires-Dist", [])


def test_without_its_distribution_bench_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = importlib.metadata.entry_points(group="lanner.commands")
    without = [entry for entry in everything if entry.name != "bench"]
    monkeypatch.setattr("lanner.commands.entry_points", lambda **_: without)
    assert main(["bench", "some.lanner", "--checkpoint", "there", "--quick"]) == 1
    monkeypatch.setenv("COLUMNS", "200")  # otherwise a line of the help breaks within the name
    message = "lanner: error: lanner bench is not installed: pip install lanner-bench\n"
    assert capsys.readouterr().err == message
    assert main(["plan", "--rps", "10", "--from", "there.json"]) == 1
    assert capsys.readouterr().err == message.replace("lanner bench is", "lanner plan is")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    assert "(needs: pip install lanner-bench)" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["bench", "--help"])
    assert "pip install lanner-bench" in capsys.readouterr().out
