"""The log: lines that cannot be forged, and a writer that holds up nobody."""

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from lanner.service.access.log import LibraryMessages, Log, raised, request_id

#: What a client may try to put into a log.
HOSTILE = 'a"\n{"level": "info"}\r\n\x1b[2J\x00\x7f\x85\u2028\u202e\ud800 b=c'


def lines(
    path: Path, shape: Literal["json", "text"], write: Callable[[Log], object], **options: bool
) -> list[str]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        log = Log(file, shape, **options)
        write(log)
        log.close()
    finally:
        os.close(file)
    return path.read_text("ascii").splitlines()


def test_a_line_of_json(tmp_path: Path) -> None:
    (line,) = lines(
        tmp_path / "log",
        "json",
        lambda log: log.request(id="r1", key=None, tokens=12, parts_ms={"model": 1.25}, status=200),
    )
    record = json.loads(line)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", record.pop("time"))
    assert record == {
        "level": "info",
        "event": "request",
        "id": "r1",
        "key": None,
        "tokens": 12,
        "parts_ms": {"model": 1.25},
        "status": 200,
    }


def test_a_line_of_text(tmp_path: Path) -> None:
    (line,) = lines(
        tmp_path / "log",
        "text",
        lambda log: log.request(
            id="r1", route="/v1/embeddings", key=None, parts_ms={"model": 1.25}, ok=True
        ),
    )
    assert line.split(" ", 1)[1] == (
        "info request id=r1 route=/v1/embeddings key=- parts_ms.model=1.25 ok=True"
    )


@pytest.mark.parametrize("shape", ["json", "text"])
def test_no_value_begins_a_line_or_steers_a_terminal(
    tmp_path: Path, shape: Literal["json", "text"]
) -> None:
    def write(log: Log) -> None:
        log.request(id=HOSTILE, route=HOSTILE, parts_ms={"model": 1.0})
        log.message("warning", HOSTILE, reason=HOSTILE)

    found = lines(tmp_path / "log", shape, write)
    assert len(found) == 2
    for line in found:
        assert all(32 <= ord(char) < 127 for char in line)
    if shape == "json":
        assert json.loads(found[0])["id"] == HOSTILE
        assert json.loads(found[1])["event"] == HOSTILE


def test_the_lines_of_requests_can_be_turned_off(tmp_path: Path) -> None:
    def write(log: Log) -> None:
        log.request(id="a")
        log.message("info", "ready")

    (line,) = lines(tmp_path / "log", "text", write, requests=False)
    assert line.endswith(" info ready")


@pytest.mark.parametrize(
    "given",
    [None, b"", b"a b", b"a\nb", b"a" * 65, b"-a", "ä".encode(), b"a=b", b'a"', b"\xff"],
)
def test_an_id_that_could_spoil_a_log_is_replaced(given: bytes | None) -> None:
    made = request_id(given)
    assert re.fullmatch("[0-9a-f]{16}", made)
    assert made != request_id(given)


def test_a_harmless_id_is_kept() -> None:
    assert request_id(b"3f2a-4b.c_D") == "3f2a-4b.c_D"


def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    log = Log(writer, "text")
    start = time.monotonic()
    for number in range(30_000):  # more than the pipe and the queue hold
        log.request(id=str(number), filler="x" * 50)
    assert time.monotonic() - start < 20
    # Reading again brings what waited, and the number of what was lost.
    found = b""
    deadline = time.monotonic() + 30
    while b"log lines lost" not in found and time.monotonic() < deadline:
        found += os.read(reader, 1 << 20)
        log.message("info", "still here")
    text = found.decode()
    written = len(re.findall("info request id=", text))
    (lost,) = re.findall(r"warning log lines lost lines=(\d+)", text)
    assert int(lost) > 0
    assert written < 30_000
    log.close()
    os.close(reader)
    os.close(writer)


def test_a_closed_log_fails_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = Log(writer, "json")
    for _ in range(3):
        log.request(id="a")
        time.sleep(0.1)
    log.close()
    os.close(writer)
    log = Log(writer, "json")  # no such descriptor
    log.message("error", "nobody hears this")
    log.close()


def test_a_program_ends_although_its_log_is_full() -> None:
    code = (
        "from lanner.service.access.log import Log\n"
        "log = Log(1, 'json')\n"
        "for i in range(20_000): log.request(id=str(i))\n"
        "log.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.wait(60) == 0  # nobody reads its output
        assert process.stdout is not None
        process.stdout.close()


def test_messages_of_libraries_lose_what_they_were_formatted_with(tmp_path: Path) -> None:
    def write(log: Log) -> None:
        logger = logging.Logger("library")
        logger.addHandler(LibraryMessages(log))
        logger.warning("Invalid request from %s", "SECRET")
        logger.info("too little to tell: SECRET")
        logger.error("Exception in task\nfuture: <Task exception=ValueError('SECRET')>")
        try:
            int("SECRET")
        except ValueError:
            logger.exception("Exception in ASGI application\n")
        logger.critical(ValueError("SECRET"))

    found = [json.loads(line) for line in lines(tmp_path / "log", "json", write)]
    assert [(one["level"], one["event"]) for one in found] == [
        ("warning", "Invalid request from %s"),
        ("error", "Exception in task"),
        ("error", "Exception in ASGI application"),
        ("error", "ValueError"),
    ]
    assert found[2]["error"] == "ValueError"
    assert re.fullmatch(r"test_log\.py:\d+", found[2]["place"])
    assert found[0]["logger"] == "library"


def test_an_error_is_named_by_its_type_and_place() -> None:
    try:
        ["public"].index("secret")
    except ValueError as error:
        found = raised(error)
    assert found["error"] == "ValueError"
    assert "secret" not in str(found)
    assert raised(KeyError("never raised")) == {"error": "KeyError"}


def test_a_message_that_comes_again_and_again_is_counted(tmp_path: Path) -> None:
    def write(log: Log) -> None:
        messages = LibraryMessages(log)
        for at_s in (0.0, 1.0, 9.9, 10.0, 10.5, 30.0):
            for name in ("library", "other"):
                record = logging.LogRecord(name, logging.WARNING, "", 0, "Invalid", None, None)
                record.created = 1e9 + at_s
                messages.handle(record)

    found = [json.loads(line) for line in lines(tmp_path / "log", "json", write)]
    for name in ("library", "other"):
        of_name = [one for one in found if one["logger"] == name]
        assert [one.get("left_out") for one in of_name] == [None, 2, 1]
