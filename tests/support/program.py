"""`lanner serve` as a program of its own."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.hostile_requests import embed, exchange, get, status
from tests.support.word_artifact import write_word_artifact

GOOD = embed({"model": "words", "input": ["a", "b b"]})
#: The seconds that a head and a body may take.
PATIENCE_S = 1.0


class Program:
    """`lanner serve`, as a program of its own, with its log in a file."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.artifact = write_word_artifact(directory / "words.lanner")
        self.log = directory / "log"
        command = [sys.executable, "-m", "lanner", "serve", str(self.artifact), "--port", "0"]
        limits = ["--head-timeout-s", str(PATIENCE_S), "--body-timeout-s", str(PATIENCE_S)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *limits, "--log", "json", "--json", *options],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["url"].rpartition(":")[2])

    @classmethod
    def of(cls, process: "subprocess.Popen[bytes]", artifact: Path) -> Self:
        """Return one that was started in another way, and prints its port."""
        made = cls.__new__(cls)
        made.process, made.artifact = process, artifact
        assert process.stdout is not None
        made.port = int(process.stdout.readline())
        return made

    def answers(self) -> None:
        """Fail if the service does not answer, or answers something else."""
        answer = exchange(self.port, GOOD)
        assert status(answer) == 200, answer
        rows = json.loads(answer.partition(b"\r\n\r\n")[2])["data"]
        assert [row["embedding"][:2] for row in rows] == [[1, 0], [0, 1]]

    def memory_kb(self) -> int:
        """Return its resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0])

    def stop(self) -> str:
        """End it, and return its log."""
        self.process.terminate()
        assert self.process.wait(30) == 0
        return self.log.read_text()

    def kill(self) -> None:
        """End it at once, if it runs yet."""
        self.process.kill()
        self.process.communicate()


def wait_until_ready(running: Program) -> None:
    deadline = time.monotonic() + 60
    while status(exchange(running.port, get("/ready"))) != 200 and time.monotonic() < deadline:
        time.sleep(0.1)


def workers(running: Program) -> list[int]:
    """Return the processes that serve, of a service with several."""
    path = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    found = []
    for pid in path.read_text().split():
        with suppress(OSError):  # it may have ended meanwhile
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found
