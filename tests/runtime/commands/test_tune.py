"""`lanner tune`, run in this process with a plan of few rounds."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lanner.artifact.artifact import Artifact
from lanner.commands import main, tune
from lanner.loading.load import load
from lanner.loading.tuned import stored_choice, tuning_file
from lanner.tune.search import Effort

SMALL = Effort(
    token_budgets=(64,),
    least_round_s=0.0,
    most_round_s=0.0,
    finalists=2,
    middle_rounds=1,
    last_rounds=2,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "EFFORT", SMALL)


def run(*arguments: object) -> int:
    try:
        return main(["tune", *map(str, arguments)])
    except SystemExit as stop:  # argparse ends the program
        return int(stop.code or 0)


@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_what_is_chosen_is_shown_stored_and_loaded(
    word_artifact: Path, goal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(word_artifact, "--goal", goal, "--threads", 2) == 0
    out, err = capsys.readouterr()
    assert out.startswith(
        f"{goal} of 32 inputs a round (sentences shipped with Lanner), medians:\n"
    )
    assert "the choice" in out
    assert "quality of fp32 in onnxruntime\n" in err
    assert re.search(r": round 1 of at most \d+, \d+ s so far\n", err)
    path = tuning_file(Artifact.open(word_artifact))
    assert err.endswith(f"stored in {path}\n")
    choice = stored_choice(Artifact.open(word_artifact), threads=2)
    assert choice is not None
    assert choice.goal == goal
    model = load(word_artifact, threads=2)
    assert model.variant.name == choice.configuration.variant
    assert model.runner.workers == choice.configuration.workers
    assert model.runner.token_budget == choice.configuration.token_budget


def test_json_is_one_object(word_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(word_artifact, "--goal", "throughput", "--threads", 1, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["stored"] == str(tuning_file(Artifact.open(word_artifact)))
    assert content["unit"] == "texts/s"
    assert content["machine"]["threads"] == 1
    by_configuration = {
        tuple(one[name] for name in content["choice"]["configuration"]): one
        for one in content["measured"]
    }
    one = by_configuration[tuple(content["choice"]["configuration"].values())]
    assert one["value"] == pytest.approx(content["choice"]["value"])
    assert len(one["rounds"]) >= 1
    assert set(content["default"]) == set(content["choice"]["configuration"])


def test_a_dry_run_stores_nothing(word_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(word_artifact, "--goal", "latency", "--threads", 1, "--dry-run") == 0
    assert "in code: lanner.load(" in capsys.readouterr().out
    assert not tuning_file(Artifact.open(word_artifact)).exists()


def test_the_call_that_is_shown_works(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(word_artifact, "--goal", "latency", "--threads", 1, "--dry-run") == 0
    call = capsys.readouterr().out.splitlines()[-1].removeprefix("in code: ")
    done = subprocess.run(
        [sys.executable, "-c", f"import lanner; print({call}.encode('c').tolist())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[0.0, 0.0, 1.0, 0.0]\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.txt", "a b\n\n一个人 🦅\nc\n"),
        ("own.csv", "id,text\n1,a b\n2,🦅\n"),
        ("own.jsonl", '"a b"\n{"text": "c"}\n'),
    ],
)
def test_own_texts(
    word_artifact: Path,
    tmp_path: Path,
    name: str,
    content: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    options = ("--goal", "throughput", "--threads", 1, "--texts", tmp_path / name, "--dry-run")
    assert run(word_artifact, *options) == 0
    assert f"throughput of 32 inputs a round ({name})" in capsys.readouterr().out


def test_own_pairs(
    scorer_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.csv").write_text("question,answer\na man,a guitar\nthe train,at seven\n")
    columns = ("--column", "question", "--pair-column", "answer")
    options = ("--goal", "latency", "--threads", 1, "--texts", tmp_path / "pairs.csv", "--dry-run")
    assert run(scorer_artifact.directory, *options, *columns) == 0
    assert "latency of 32 inputs a round (pairs.csv)" in capsys.readouterr().out


def test_a_floor_shows_what_is_below_it(
    tiny_artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    floor = ("--min-quality", "cosine:0.99999")
    options = ("--goal", "latency", "--threads", 1, "--dry-run")
    assert run(tiny_artifact.directory, *options, *floor) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("onnxruntime  int8")]
    assert row.split()[-2:-1] == ["cosine"]
    assert "variant='fp32'" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["gone", "--goal", "latency"], 1, "gone is not a directory: pass one that 'lanner expo"),
        (["x"], 2, "the following arguments are required: --goal"),
        (["x", "--goal", "memory"], 2, "invalid choice: 'memory'"),
        (
            ["x", "--goal", "latency", "--threads", "0"],
            2,
            "must be an integer of at least 1",
        ),
        (["x", "--goal", "latency", "--min-quality", "good"], 2, "'good' is not MEASURE:BOUND wit"),
    ],
)
def test_wrong_calls_are_one_sentence(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-quality", "spearman:0.2"], "has no figures for spearman: export again"),
        (["--min-quality", "f1:0.2"], "the budget f1:0.2 does not fit this checkpoint, which has"),
        (["--texts", "gone.txt"], "there is no file gone.txt: check the path"),
        (["--texts", "texts.pdf"], "texts.pdf has an unsupported format: use .txt, .csv"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    word_artifact: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(word_artifact, "--goal", "latency", *options) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not tuning_file(Artifact.open(word_artifact)).exists()


def test_empty_texts_are_refused(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    assert run(word_artifact, "--goal", "latency", "--texts", tmp_path / "empty.txt") == 1
    assert "empty.txt holds no text to measure with" in capsys.readouterr().err


def test_where_nothing_can_be_written_the_table_is_shown_all_the_same(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tuning_file(Artifact.open(word_artifact))
    path.mkdir()
    assert run(word_artifact, "--goal", "latency", "--threads", 1) == 1
    out, err = capsys.readouterr()
    assert "in code: lanner.load(" in out
    assert err.splitlines()[-1].startswith(
        f"lanner: error: the choice was not stored, because {path} cannot be written (Is a direct"
    )
    assert run(word_artifact, "--goal", "latency", "--threads", 1, "--json") == 1
    assert json.loads(capsys.readouterr().out)["stored"] is None


#: The command with the small plan, in a process of its own.
_PROGRAM = f"""
import sys
from lanner.commands import main, tune
from lanner.tune.search import Effort
tune.EFFORT = {SMALL!r}
sys.exit(main(["tune", *sys.argv[1:]]))
"""


def test_a_full_disk_leaves_the_earlier_file(word_artifact: Path) -> None:
    arguments = [sys.executable, "-c", _PROGRAM, str(word_artifact), "--goal", "latency"]
    subprocess.run([*arguments, "--threads", "1"], capture_output=True, check=True)
    path = tuning_file(Artifact.open(word_artifact))
    before = path.read_bytes()

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))

    done = subprocess.run(
        [*arguments, "--threads", "2"],
        capture_output=True,
        text=True,
        preexec_fn=no_room,
        check=False,
    )
    assert done.returncode == 1
    assert "the choice was not stored, because" in done.stderr
    assert "(File too large)" in done.stderr
    assert "in code: lanner.load(" in done.stdout
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["words.lanner", path.name]


def test_a_stop_leaves_the_earlier_file(word_artifact: Path) -> None:
    arguments: list[Any] = [sys.executable, "-c", _PROGRAM, word_artifact, "--threads", "1"]
    subprocess.run([*arguments, "--goal", "latency"], capture_output=True, check=True)
    path = tuning_file(Artifact.open(word_artifact))
    before = path.read_bytes()
    # The first round takes half a minute; the number of rounds depends on their results.
    endless = _PROGRAM.replace("least_round_s=0.0, most_round_s=0.0", "most_inputs=10**8")
    endless = endless.replace("most_inputs=8192", "least_round_s=30, most_round_s=30")
    assert "least_round_s=30" in endless
    arguments[2] = endless
    with subprocess.Popen(
        [*arguments, "--goal", "throughput"],
        stderr=subprocess.PIPE,
        text=True,
        # If the tests run as a background job, they may ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "one round of each" in line:
                break
        os.kill(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest == "lanner: error: interrupted\n"
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["words.lanner", path.name]


def test_inspect_shows_the_choice(word_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(word_artifact)]) == 0
    assert "tuned" not in capsys.readouterr().out
    assert run(word_artifact, "--goal", "throughput") == 0
    capsys.readouterr()
    assert main(["inspect", str(word_artifact)]) == 0
    out = capsys.readouterr().out
    assert "\n  tuned       " in out
    assert "(for throughput: " in " ".join(out.split())
    assert main(["inspect", str(word_artifact), "--json"]) == 0
    tuned = json.loads(capsys.readouterr().out)["tuned"]
    assert tuned["goal"] == "throughput"
