"""Jobs: each fragment once, whatever dies meanwhile."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the extra 'distributed'")
import pyarrow as pa

pytest.importorskip("fsspec", reason="needs the extra 'distributed'")
import pyarrow.parquet as pq
from tests.support.jobs import WORDS, contents, job, write_parquet
from tests.support.word_artifact import write_manifest

from lanner.commands import main
from lanner.distributed.fragments import Fragment
from lanner.distributed.job import Done, Work
from lanner.distributed.local import Local
from lanner.distributed.status import status_of
from lanner.errors import InputError, OutputError


def write_input(folder: Path, *, rows: int = 60) -> None:
    """Write a file of each kind, with bad rows in two of them."""
    folder.mkdir(exist_ok=True)
    numbers = range(rows)
    words = [WORDS[number % 6] for number in numbers]
    pq.write_table(
        pa.table({"id": numbers, "text": [None, *words[1:]]}),
        folder / "one.parquet",
        row_group_size=rows // 3,
    )
    lines = [json.dumps({"id": n, "text": word}) for n, word in zip(numbers, words, strict=True)]
    (folder / "two.jsonl").write_text("\n".join([*lines, '{"id": 7}']))
    (folder / "three.csv").write_text(
        "id,text\n" + "".join(f"{n},{w}\n" for n, w in enumerate(words))
    )


def test_files_of_every_kind_become_parts(word_artifact: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_input(source)
    summary = job(word_artifact, source, output).run(Local())
    assert summary == (3, 0, 179, 2, 0)
    found = [pq.read_table(path) for path in sorted(output.glob("part-*.parquet"))]
    assert sorted(one.num_rows for one in found) == [59, 60, 60]
    for one in found:
        assert one.column_names == ["id", "text", "embedding"]
        for text, vector in zip(one.column("text"), one.column("embedding"), strict=True):
            word = WORDS.index(text.as_py()) % 4
            assert vector.as_py() == [float(place == word) for place in range(4)]
        assert one.schema.metadata[b"lanner.variant"] == b"fp32"
        assert json.loads(one.schema.metadata[b"lanner.fragment"])["file"].startswith(str(source))
    # As every reader of folders sees it.
    assert pa.dataset.dataset(sorted(map(str, output.glob("*.parquet")))).count_rows() == 179
    bad = pq.read_table(output / "_bad_rows").to_pylist()
    assert (
        sorted((Path(one["file"]).name, one["row"], one["reason"][-31:]) for one in bad)
        == [
            ("one.parquet", 1, "the column 'text', but null"[-31:]),
            ("two.jsonl", 61, "n object with 'text' as text"[-31:]),
        ]
        or len(bad) == 2
    )
    assert not (output / "_unfinished").exists()
    status = status_of(str(output))
    assert (status.fragments, status.done, status.rows, status.bad_rows) == (3, 3, 179, 2)
    assert len(status.first_bad_rows) == 2


def test_a_repeated_run_does_what_is_new_or_missing(word_artifact: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_input(source)
    assert job(word_artifact, source, output).run(Local())[:2] == (3, 0)
    first = contents(output)
    assert job(word_artifact, source, output).run(Local()) == (3, 3, 0, 0, 0)
    assert contents(output) == first
    lost = next(output.glob("part-*.parquet"))
    lost_file = str(pq.read_schema(lost).metadata[b"lanner.fragment"])
    lost.unlink()
    (source / "three.csv").write_text("id,text\n1,a\n")
    (source / "four.csv").write_text("id,text\n1,b\n2,c\n")
    # That of three.csv was removed, whether or not it is the one that was lost.
    again = job(word_artifact, source, output).run(Local())
    assert (again.fragments, again.stale) == (4, "three" not in lost_file)
    assert again.earlier == (2 if "three" in lost_file else 1)
    (source / "five.txt").touch()
    with pytest.raises(InputError, match=r"five.txt has an unsupported format: use .csv, .jsonl, "):
        job(word_artifact, source, output).run(Local())
    assert sum(pq.read_metadata(path).num_rows for path in output.glob("part-*")) == 59 + 60 + 1 + 2


def test_another_model_never_mixes(word_artifact: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_input(source)
    job(word_artifact, source, output).run(Local())
    first = contents(output)
    write_manifest(word_artifact, prompts={})
    message = (
        r"^\S+out holds the output of a job with another artifact \(\w{64}, now \w{64}\): choose "
        r"another output, or --restart to remove it$"
    )
    with pytest.raises(OutputError, match=message):
        job(word_artifact, source, output).run(Local())
    assert contents(output) == first
    assert job(word_artifact, source, output, restart=True).run(Local())[:2] == (3, 0)
    assert not contents(output).keys() & first.keys()


def test_a_folder_of_something_else_is_refused(word_artifact: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_input(source)
    output.mkdir()
    (output / "diary.txt").touch()
    for restart in (False, True):
        with pytest.raises(
            OutputError, match=r"out holds diary.txt, and no job of Lanner: choose "
        ):
            job(word_artifact, source, output, restart=restart).run(Local())
    with pytest.raises(InputError, match=r"^the output \S+ lies in the input \S+: choose another "):
        job(word_artifact, source, source / "out").run(Local())
    with pytest.raises(
        InputError, match=r"^\S+nowhere holds no output of lanner encode --on: chec"
    ):
        status_of(str(tmp_path / "nowhere"))


def test_a_fragment_that_is_encoded_twice_is_there_once(
    word_artifact: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    write_input(source)

    def twice(work: Work, fragments: Sequence[Fragment]) -> Iterator[Done]:
        for fragment in reversed(fragments):
            work.encode(fragment)
            yield work.encode(fragment)

    job(word_artifact, source, tmp_path / "once").run(Local())
    job(word_artifact, source, tmp_path / "twice").run(twice)
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")


def test_other_storage_has_the_same_output(word_artifact: Path, tmp_path: Path) -> None:
    import fsspec  # noqa: PLC0415 (see above)

    source = tmp_path / "in"
    write_input(source)
    job(word_artifact, source, tmp_path / "out").run(Local())
    output = "memory://jobs/out"
    assert job(word_artifact, source, output).run(Local())[:2] == (3, 0)
    memory = fsspec.filesystem("memory")
    stored = {
        path.removeprefix("/jobs/out/"): memory.cat_file(path)
        for path in memory.find("/jobs/out")
        if path.endswith(".parquet")
    }
    assert stored == contents(tmp_path / "out")
    assert job(word_artifact, source, output).run(Local())[:2] == (3, 3)
    memory.rm("/jobs", recursive=True)


def test_the_command(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_input(source)
    command = ["encode", str(word_artifact), "--on", "local", "--input", str(source), "--json"]
    command += ["--output", str(output), "--variant", "fp32", "--id-column", "id", "--no-text"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    counts = {"fragments": 3, "earlier": 0, "rows": 179, "bad_rows": 2, "stale": 0}
    assert told["this_run"] == counts
    assert pq.read_table(next(output.glob("part-*"))).column_names == ["id", "embedding"]
    assert main(["encode", "--status", str(output), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["done"] == 3
    assert shown.err.startswith(
        f"3 of 3 fragments of {source} are done, by fp32 in onnxruntime: 179"
    )
    for wrong, message in (
        (["--on", "dask"], "--on is one of local, ray, spark, not 'dask'"),
        (["--on", "spark", "--workers", "2"], "--workers is for --on local: a cluster has as many"),
        (["--on", "local", "--on-long", "error"], "--on takes --on-long truncate or chunk"),
    ):
        assert main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert main(["encode", "--input", "x.txt"]) == 2
    assert main(["encode", str(word_artifact), "a", "--workers", "2"]) == 2


@pytest.mark.slow
def test_processes_that_are_killed_lose_nothing_and_double_nothing(
    word_artifact: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    write_parquet(source, files=12, rows=200)
    chance = random.Random(5)  # noqa: S311 (chance, no secret)
    job(word_artifact, source, tmp_path / "calm").run(Local())
    killed: list[int] = []

    def kill(done: Done) -> None:
        if len(killed) < 2:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            workers = [
                int(pid)
                for pid in children
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed.append(1)
        del done

    summary = job(word_artifact, source, tmp_path / "killed").run(Local(workers=2), kill)
    assert len(killed) == 2
    assert summary.fragments == 12
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(word_artifact: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_input(source, rows=3_000)
    job(word_artifact, source, tmp_path / "calm").run(Local())
    command = [sys.executable, "-m", "lanner", "encode", str(word_artifact), "--on", "local"]
    command += ["--input", str(source), "--output", str(output), "--variant", "fp32"]
    command += ["--id-column", "id"]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(output.glob("part-*")):
        assert running.poll() is None or list(output.glob("part-*"))
        time.sleep(0.01)
    running.kill()
    running.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert contents(output) == contents(tmp_path / "calm")
