"""Spark: a real local cluster of two executors, one of which is killed."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyspark", reason="needs Spark: make distributed")
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from tests.support.jobs import contents, job, write_parquet
from tests.support.processes import own_processes

from lanner.distributed.local import Local
from lanner.distributed.spark import Spark, encode

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    found = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.ui.enabled", "false")
        .config("spark.executor.memory", "512m")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    yield found
    found.stop()


def executors() -> list[int]:
    return own_processes(lambda command: b"CoarseGrainedExecutorBackend" in command)


def test_a_cluster_has_the_output_of_this_process(
    session: Any, word_artifact: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "in", files=4, rows=100)
    job(word_artifact, tmp_path / "in", tmp_path / "here").run(Local())
    summary = job(word_artifact, tmp_path / "in", tmp_path / "there").run(Spark())
    assert summary == (4, 0, 400, 0, 0)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    again = job(word_artifact, tmp_path / "in", tmp_path / "there").run(Spark())
    assert again == (4, 4, 0, 0, 0)


def test_an_executor_that_is_killed_changes_nothing(
    session: Any, word_artifact: Path, tmp_path: Path
) -> None:
    files, rows = 40, 2_500
    write_parquet(tmp_path / "in", files=files, rows=rows)
    job(word_artifact, tmp_path / "in", tmp_path / "here").run(Local())
    output = tmp_path / "there"
    written_before: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.01):
            if len(list(output.glob("part-*"))) >= files // 3:
                os.kill(executors()[0], signal.SIGKILL)
                written_before.append(len(list(output.glob("part-*"))))
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        job(word_artifact, tmp_path / "in", output).run(Spark())
    finally:
        over.set()
        thread.join()
    assert written_before[0] < files
    assert contents(output) == contents(tmp_path / "here")
    found = pq.read_table(output, columns=["id"]).column("id").to_pylist()
    assert sorted(found) == list(range(files * rows))


def test_a_data_frame(session: Any, word_artifact: Path) -> None:
    rows = [(number, "abc"[number % 3]) for number in range(300)]
    frame = session.createDataFrame(rows, "id long, text string").repartition(4)
    found = encode(frame, word_artifact, variant="fp32", window_rows=64).collect()
    assert sorted(row["id"] for row in found) == list(range(300))
    for row in found:
        assert row["embedding"] == [float(place == row["id"] % 3) for place in range(4)]
    bits = encode(frame, word_artifact, variant="fp32", precision="ubinary", keep=["id"])
    assert bits.where("id = 1").collect()[0]["embedding"] == [0b0100_0000]
