"""A cluster of Ray on this machine, and kills of its workers and nodes while a job runs."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.cluster_utils import Cluster
from tests.support.processes import own_processes

from lanner.distributed.job import Done, Summary

#: Fragments that are done between two kills, at least; and about how long one takes.
_BETWEEN, _FRAGMENT_S = 10, 0.5
#: Bytes of the store of objects of a node, which holds next to nothing.
_STORE = 100_000_000


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Yield a `ray.cluster_utils.Cluster` of two nodes with one core each, connected."""
    store = {"num_cpus": 1, "object_store_memory": _STORE}
    head = {**store, "include_dashboard": False}
    found = _started(partial(Cluster, initialize_head=True, head_node_args=head))
    try:
        # Before there is another node, whose end would be that of this process.
        ray.init(address=found.address, log_to_driver=False)
        _started(partial(found.add_node, **store))
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def _started(start: Callable[[], Any]) -> Any:
    """Start a node; Ray waits 30 s for it, which may be too short on a busy machine."""
    for _ in range(2):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


def workers() -> list[int]:
    """Return the workers of Ray; a node ends with its agents, which are called ray:: too."""
    return own_processes(lambda command: command.startswith((b"ray::_encode", b"ray::IDLE")))


def busy_workers() -> list[int]:
    """Return the workers that encode."""
    return own_processes(lambda command: command.startswith(b"ray::_encode"))


def killed_during(
    run: Callable[[Callable[[Done], object]], Summary], cluster: Any, kills: int
) -> tuple[Summary, list[str]]:
    """Run a job, and kill a worker or a node again and again; a new node replaces a killed one.

    Args:
        run: Runs the job; it is given what the job calls after each fragment.
        cluster: A `ray.cluster_utils.Cluster`, whose other nodes than the head are killed.
        kills: The number of kills.

    Returns:
        The result of the job, and what was killed before it ended, in order.
    """
    chance = random.Random(7)  # noqa: S311 (chance, no secret)
    nodes = 1 + len(cluster.worker_nodes)
    done: list[Done] = []
    killed: list[str] = []
    # Nodes are started by the main thread: they set handlers of signals.
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(run, done.append)
        for number in range(kills):
            kind, pause_s = chance.choice(("worker", "node")), chance.uniform(0, _FRAGMENT_S)
            due = len(done) + _BETWEEN if number else 1
            while not job.done() and (len(done) < due or len(busy_workers()) < nodes):
                time.sleep(0.02)
            time.sleep(pause_s)
            if kind == "node":
                node = chance.choice(sorted(cluster.worker_nodes, key=_name))
                cluster.remove_node(node, allow_graceful=False)
                if not job.done():
                    killed.append(kind)
                _started(partial(cluster.add_node, num_cpus=1, object_store_memory=_STORE))
            elif found := _one_or_more(job):
                os.kill(chance.choice(found), signal.SIGKILL)
                killed.append(kind)
        return job.result(), killed


def _one_or_more(job: "Future[Summary]") -> list[int]:
    while not (found := busy_workers()) and not job.done():
        time.sleep(0.02)
    return found


def _name(node: Any) -> str:
    return str(node.plasma_store_socket_name)
