"""The parent of the workers: it replaces those that end or hang, and at SIGHUP each of them."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.program import Program, wait_until_ready, workers
from tests.support.waiting import wait_until
from tests.support.word_artifact import write_word_artifact
from uvicorn import Config

from lanner.service.supervisor import Worker

#: A worker that does not answer is ended after a minute; what is seen at once comes much sooner.
_PATIENCE_S = 30.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, "--workers", "2")
    try:
        wait_until(lambda: len(workers(program)) == 2)
        wait_until_ready(program)
        yield program
    finally:
        program.kill()


def test_a_worker_that_dies_is_replaced_while_another_hangs(running: Program) -> None:
    hung, killed = workers(running)
    os.kill(hung, signal.SIGSTOP)
    time.sleep(1.5)  # it is asked, and does not answer
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in workers(running) and len(workers(running)) == 2)
    os.kill(hung, signal.SIGCONT)
    wait_until_ready(running)
    running.answers()
    assert hung in workers(running)
    log = running.stop()
    assert "a worker ended with exit code -9, and is replaced" in log


def test_each_worker_is_replaced_at_sighup_and_requests_go_on(running: Program) -> None:
    before = workers(running)
    os.kill(running.process.pid, signal.SIGHUP)
    while set(before) & set(workers(running)):
        running.answers()
    wait_until(lambda: len(workers(running)) == 2)
    running.answers()
    assert "Traceback" not in running.stop()


def test_workers_come_and_go_by_signals(running: Program) -> None:
    os.kill(running.process.pid, signal.SIGTTIN)
    wait_until(lambda: len(workers(running)) == 3)
    for left in (2, 1, 1):
        os.kill(running.process.pid, signal.SIGTTOU)
        wait_until(lambda: len(workers(running)) == left)  # noqa: B023 (called at once)
        running.answers()
    assert "Traceback" not in running.stop()


def test_a_worker_hangs_if_it_does_not_answer_in_time() -> None:
    worker = Worker(Config("none"), [])
    worker._answered_s = -math.inf
    assert not worker.hangs(0.0)  # it is asked
    assert worker.hangs(0.0)
    assert not worker.hangs(60.0)
    assert worker.child_conn.recv() == b"ping"
    begun = []
    for answer in (False, True):
        worker.child_conn.send(answer)
        assert not worker.hangs(0.0)
        begun.append(worker.has_begun)
        worker._answered_s = -math.inf
    assert begun == [False, True]
    worker.child_conn.close()
    worker._answered_s = -math.inf
    assert not worker.hangs(0.0)  # it ends, which its sentinel tells


_SOON = """
import sys
from lanner.service import server
server._HANGS_S = 15.0
door = server.Door(server.Settings(models={"words": sys.argv[1]}, port=0, workers=2))
print(door.port, flush=True)
door.serve()
"""


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    artifact = write_word_artifact(tmp_path / "words.lanner")
    command = [sys.executable, "-c", _SOON, str(artifact)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        program = Program.of(process, artifact)
        try:
            wait_until(lambda: len(workers(program)) == 2)
            wait_until_ready(program)
            hung = workers(program)[0]
            os.kill(hung, signal.SIGSTOP)
            wait_until(lambda: hung not in workers(program) and len(workers(program)) == 2)
        finally:
            process.terminate()
        assert process.wait(_PATIENCE_S) == 0


def test_workers_that_cannot_start_end_the_service_with_a_sentence(tmp_path: Path) -> None:
    artifact = write_word_artifact(tmp_path / "words.lanner")
    for file in artifact.glob("model.*.onnx"):
        file.write_bytes(bytes(file.stat().st_size))  # the size is looked at before workers start
    done = subprocess.run(
        [sys.executable, "-m", "lanner", "serve", str(artifact), "--port", "0", "--workers", "2"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "a worker of the service cannot start: " in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "lanner: error: a worker of the service could not start, and another would end the same way"
    )
    assert "Traceback" not in done.stderr
