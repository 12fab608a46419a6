"""Ray: a real cluster of two nodes on this machine, whose workers and nodes are killed."""

import os
import random
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs Ray: make distributed")
import pyarrow.parquet as pq
import ray
from tests.support.jobs import contents, job, write_parquet
from tests.support.ray_cluster import killed_during, two_nodes, workers

from lanner.distributed import ArrowEncoder
from lanner.distributed.job import Done
from lanner.distributed.local import Local
from lanner.distributed.ray import Ray, encode, shares
from lanner.errors import CorruptArtifactError, InputError

pytestmark = pytest.mark.slow
#: Random kills of workers and nodes.
KILLS = int(os.environ.get("CLUSTER_KILLS", "4"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as found:
        yield found


def test_a_cluster_has_the_output_of_this_process(
    cluster: Any, word_artifact: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "in", files=6, rows=100)
    job(word_artifact, tmp_path / "in", tmp_path / "here").run(Local())
    summary = job(word_artifact, tmp_path / "in", tmp_path / "there").run(Ray())
    assert summary == (6, 0, 600, 0, 0)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert shares(None) == (1, 2)
    with pytest.raises(
        InputError, match=r"^no node of the cluster has 64 cores: the largest has 1$"
    ):
        job(word_artifact, tmp_path / "in", tmp_path / "out").run(Ray(cores=64))


def test_workers_that_are_killed_change_nothing(
    cluster: Any, word_artifact: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "in", files=20, rows=100)
    job(word_artifact, tmp_path / "in", tmp_path / "here").run(Local())
    chance = random.Random(7)  # noqa: S311 (chance, no secret)
    killed: list[int] = []

    def kill(_: Done) -> None:
        if len(killed) < 3 and (found := workers()):
            killed.append(chance.choice(found))
            os.kill(killed[-1], signal.SIGKILL)

    summary = job(word_artifact, tmp_path / "in", tmp_path / "there").run(Ray(), kill)
    assert len(killed) == 3
    assert summary.fragments == 20
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_random_kills_of_workers_and_nodes_change_nothing(
    cluster: Any, word_artifact: Path, tmp_path: Path
) -> None:
    files, rows = 30 * (KILLS + 1), 20_000
    write_parquet(tmp_path / "in", files=files, rows=rows)
    job(word_artifact, tmp_path / "in", tmp_path / "here").run(Local())
    planned = job(word_artifact, tmp_path / "in", tmp_path / "there")
    summary, killed = killed_during(partial(planned.run, Ray()), cluster, KILLS)
    assert (len(killed), set(killed)) == (KILLS, {"worker", "node"}), killed
    assert summary == (files, 0, files * rows, 0, 0)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    found = pq.read_table(tmp_path / "there", columns=["id"]).column("id").to_pylist()
    assert sorted(found) == list(range(files * rows))
    assert {path.name for path in (tmp_path / "there").iterdir() if path.is_dir()} == set()


def test_an_error_of_a_worker_is_the_error_of_the_run(
    cluster: Any, word_artifact: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "in", files=1, rows=10)
    planned = job(word_artifact, tmp_path / "in", tmp_path / "out")
    model = word_artifact / "model.fp32.onnx"
    model.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(
        CorruptArtifactError, match=r"model.fp32.onnx is longer than when it was wr"
    ):
        planned.run(Ray())


def test_a_dataset_of_ray_data(cluster: Any, word_artifact: Path) -> None:
    rows = [{"id": number, "text": "abc"[number % 3]} for number in range(500)]
    encoder = ArrowEncoder(word_artifact, variant="fp32", window_rows=64)
    found = encode(ray.data.from_items(rows), encoder, workers=2).take_all()
    assert sorted(row["id"] for row in found) == list(range(500))
    for row in found:
        place = row["id"] % 3
        assert list(row["embedding"]) == [float(n == place) for n in range(4)]
