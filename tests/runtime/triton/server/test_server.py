"""A real server, with models of a few lines."""

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.triton_models import BROKEN, DOUBLE, processes_of, write_triton_model

from lanner.artifact.manifest import MANIFEST_FILE
from lanner.errors import LannerError, RepositoryError, ServerError, UsageError
from lanner.triton.server import server as server_module
from lanner.triton.server.installation import Installation
from lanner.triton.server.served_repository import plain_path, require_repository
from lanner.triton.server.server import TritonServer
from lanner.triton.server.stubs import StubWatch, stubs

Make = Callable[..., TritonServer]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_triton_model(tmp_path / "repository")


@pytest.fixture
def make(tritonserver: Installation, repository: Path) -> Make:
    def make(**arguments: Any) -> TritonServer:
        ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
        defaults: dict[str, Any] = {"repository": repository, "installation": tritonserver, **ports}
        return TritonServer(**(defaults | arguments))

    return make


def infer(server: TritonServer, numbers: Sequence[float], model: str = "double") -> list[float]:
    shape = [1, len(numbers)]
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": [numbers]}
    answer = json.loads(post(f"{server.http_url}/v2/models/{model}/infer", {"inputs": [tensor]}))
    data: list[float] = answer["outputs"][0]["data"]
    return data


def post(url: str, content: object) -> bytes:
    with urllib.request.urlopen(url, json.dumps(content).encode()) as answer:  # noqa: S310
        body: bytes = answer.read()
        return body


def traces() -> list[str]:
    """Return the shared memory of this process's servers; others may run at the same time."""
    mark = f"lanner-{os.getpid()}-"
    return [name for name in os.listdir("/dev/shm") if name.startswith(mark)]  # noqa: PTH208, S108


def test_a_server_gets_ready_answers_and_leaves_nothing(make: Make, repository: Path) -> None:
    lines: list[str] = []
    before = sorted(repository.rglob("*"))
    with make(tell=lines.append) as server:
        assert server.models() == [{"name": "double", "version": "1", "state": "READY"}]
        assert infer(server, [1, 2.5]) == [2, 5]
        assert re.fullmatch(r"http://localhost:\d+", server.http_url)
        assert re.fullmatch(r"grpc://localhost:\d+", server.grpc_url)
        with urllib.request.urlopen(server.metrics_url) as answer:  # noqa: S310
            assert b'nv_inference_count{model="double",version="1"} 1' in answer.read()
        assert server.pid in processes_of(repository)
        assert traces() != []
        work = Path(server._work.name if server._work else "")
        assert work.is_dir()
    assert processes_of(repository) == []
    assert traces() == []
    assert not work.exists()
    assert sorted(repository.rglob("*")) == before  # no __pycache__
    shown = "\n".join(lines)
    assert re.search(r"^\d\d:\d\d:\d\d info  successfully loaded 'double'$", shown, re.MULTILINE)
    assert not re.search(r"^[+|]", shown, re.MULTILINE)  # no tables
    server.stop()  # once more, it does nothing
    server.wait()
    with pytest.raises(
        UsageError, match=r"^a TritonServer can only be started once: make a new one$"
    ):
        server.start()


def test_a_repository_anywhere_is_served(make: Make, tmp_path: Path) -> None:
    """The Python backend puts the path into a shell command."""
    repository = write_triton_model(tmp_path / f"it's \N{SNOWMAN}; touch {tmp_path}" / "a b")
    with make(repository=repository) as server:
        assert infer(server, [2]) == [4]


def test_a_request_in_flight_is_answered_before_it_stops(make: Make, tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go_on"
    waits = (
        f"        import pathlib, time; pathlib.Path({str(begun)!r}).touch()\n"
        f"        while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)\n"
    )
    head, body = DOUBLE.split("        inputs", 1)
    repository = write_triton_model(tmp_path / "slow", "slow", f"{head}{waits}        inputs{body}")
    answers = []
    with make(repository=repository) as server:
        asking = threading.Thread(target=lambda: answers.append(infer(server, [3], "slow")))
        asking.start()
        _wait_for(begun.exists)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        _wait_for(lambda: "Found 1 HTTP service connections" in server.log.text)
        go_on.touch()
        server.wait()  # it was asked to stop, so this is no error
        stopping.join()
        asking.join()
    assert answers == [[6]]


def _wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


def test_options_of_triton_go_through_and_win(make: Make) -> None:
    options = ["--model-control-mode=explicit", "--cache-config", "local,size=2000000"]
    with make(options=options) as server:
        assert server.models() == [{"name": "double"}]  # it exists, but is not loaded
        post(f"{server.http_url}/v2/repository/models/double/load", {})
        assert infer(server, [4]) == [8]
        assert '{\\"size\\":\\"2000000\\"}' in server.log.text
        assert "67108864" not in server.log.text


def test_nothing_is_imported_from_the_working_directory(
    make: Make, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = repository / "double" / "1" / "model.py"
    model.write_text(f"import wave, this_is_not_there\n{model.read_text()}")
    (tmp_path / "here").mkdir()
    ran = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    for name in ("wave.py", "numpy.py", "lanner.py", "this_is_not_there.py"):
        (tmp_path / "here" / name).write_text(ran)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend("")  # as for `python -m lanner`
    with pytest.raises(RepositoryError, match=r"No module named 'this_is_not_there'"), make():
        pass
    assert not (tmp_path / "ran").exists()


def test_others_neither_reach_it_nor_read_its_memory(make: Make) -> None:
    with make() as server:
        port = int(server.http_url.rpartition(":")[2])
        listening = Path("/proc/net/tcp").read_text(encoding="ascii")
        assert f"0100007F:{port:04X} 00000000:0000 0A" in listening
        assert f"00000000:{port:04X}" not in listening
        modes = [Path("/dev/shm", name).stat().st_mode & 0o777 for name in traces()]  # noqa: S108
        assert set(modes) == {0o600}
        assert not server.is_public
        assert re.match(r"2\.\d+\.\d+", server.version())


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v2/repository/models/double/unload", {}),
        ("/v2/repository/index", {}),
        ("/v2/logging", {"log_verbose_level": 9}),
        ("/v2/systemsharedmemory/region/a/register", {"key": "/a", "byte_size": 1}),
    ],
)
def test_administration_is_refused(make: Make, path: str, content: object) -> None:
    with make() as server:
        with pytest.raises(urllib.error.HTTPError, match=r"403|400"):
            post(f"{server.http_url}{path}", content)
        assert server.models() == [{"name": "double", "version": "1", "state": "READY"}]


def test_an_address_that_is_not_of_this_machine(make: Make) -> None:
    message = r"^port 0 of 192\.0\.2\.1 cannot be used for http \(.*\): this machine has no such"
    with pytest.raises(ServerError, match=message), make(host="192.0.2.1"):
        pass


def test_models_that_cannot_be_loaded_are_named_with_their_reasons(
    make: Make, repository: Path
) -> None:
    write_triton_model(repository, "broken", BROKEN)
    write_triton_model(repository, "odd")
    (repository / "odd" / "config.pbtxt").write_text('max_batch_size: "8"\n')
    message = (
        f"tritonserver cannot load 'odd': failed to read text proto from {repository}/odd/"
        'config.pbtxt (1:17: Expected integer, got: "8"); '
        "'broken' version 1: Internal: ValueError: the weights are gone "
        f"({repository}/broken/1/model.py(3): initialize); fix it in {repository}, or remove it "
        "there"
    )
    with pytest.raises(RepositoryError, match=f"^{re.escape(message)}$"), make():
        pass
    assert (processes_of(repository), traces()) == ([], [])


def test_a_model_that_would_be_waited_for_in_vain_is_named(make: Make, repository: Path) -> None:
    (repository / "double" / "1" / "model.py").unlink()
    message = (
        "tritonserver waits forever for a model: Python model file not found in "
        f"'{repository}/double/1/model.py'; fix it in {repository}"
    )
    with pytest.raises(RepositoryError, match=f"^{re.escape(message)}$"), make(grace_s=0):
        pass
    assert (processes_of(repository), traces()) == ([], [])


def test_a_server_that_is_killed_is_an_error_and_leaves_nothing(
    make: Make, repository: Path
) -> None:
    message = "^tritonserver was killed by SIGKILL while serving; its last message: "
    with make() as server:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError, match=message):
            server.wait()
    assert (processes_of(repository), traces()) == ([], [])
    with pytest.raises(ServerError, match=r"^http://localhost:\d+ does not answer: "):
        server.models()


def test_a_stub_that_was_killed_stops_the_server(make: Make, repository: Path) -> None:
    lines: list[str] = []
    message = (
        "the process of double version 1 died, and tritonserver does not replace it: see the log "
        "for the reason (memory may have run out), then start the server again"
    )
    write_triton_model(repository, "other")
    with make(tell=lines.append) as server:
        pid = next(stub.pid for stub in stubs(server.pid) if stub.model == "double version 1")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ServerError, match=f"^{re.escape(message)}$"):
            server.wait()
    assert f"stopping: {message}" in lines
    assert (processes_of(repository), traces()) == ([], [])


def test_a_stub_that_ends_with_its_model_is_no_fault(make: Make) -> None:
    with make(options=["--model-control-mode=explicit", "--load-model=double"]) as server:
        (stub,) = stubs(server.pid)
        assert (stub.model, stub.has_ended) == ("double version 1", False)
        watch = StubWatch(server.pid)
        assert watch.dead() == []
        post(f"{server.http_url}/v2/repository/models/double/unload", {})
        while stubs(server.pid):
            assert watch.dead() == []
        assert watch.dead() == []


@pytest.mark.parametrize("option", ["http_port", "grpc_port", "metrics_port"])
def test_a_taken_port_is_refused_before_anything_starts(make: Make, option: str) -> None:
    name = option.removesuffix("_port")
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104 (as Triton would)
        port = other.getsockname()[1]
        message = (
            f"^port {port} of 127.0.0.1 cannot be used for {name} \\(Address already in use\\): "
            f"choose another with --{name}-port, or 0 for any free port$"
        )
        with pytest.raises(ServerError, match=message), make(**{option: port}):
            pass


def test_one_port_is_not_enough(make: Make) -> None:
    message = "^http, grpc, metrics need different ports, not http 8000, grpc 8000, metrics 0$"
    with pytest.raises(UsageError, match=message), make(http_port=8000, grpc_port=8000):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nonsense=1"], "refuses its options: unrecognized option '--nonsense=1'"),
        (["--log-verbose"], "refuses its options: option '--log-verbose' requires an argument"),
        (["--http-thread-count=x"], "refuses its options: Invalid option value. Got x"),
    ],
)
def test_options_that_triton_does_not_know(make: Make, options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^tritonserver {message}$"), make(options=options):
        pass


def test_options_that_lanner_must_know(make: Make) -> None:
    with pytest.raises(
        UsageError, match=r"^--http-port is not allowed among the options after --: "
    ):
        make(options=["--http-port=1"])


def test_certificates_are_looked_at_before_anything_starts(make: Make, repository: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"^gRPC over TLS needs "),
        make(options=["--grpc-use-ssl=1"]),
    ):
        pass
    assert processes_of(repository) == []


def test_waiting_for_a_model_has_a_limit(make: Make, repository: Path) -> None:
    message = (
        r"^tritonserver was not ready after 0 s: see its log for the reason, or allow "
        r"more time with --ready-timeout \(ready_timeout_s\)$"
    )
    with pytest.raises(ServerError, match=message), make(ready_timeout_s=0):
        pass
    assert processes_of(repository) == []


def test_one_that_does_not_stop_is_killed_with_its_children(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_UNLOAD_S", 0.1)
    binary = tmp_path / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.write_text('#!/bin/sh\ntrap "" TERM\necho started\nsleep 1000 &\nwait\nsleep 1000\n')
    binary.chmod(0o755)
    started = threading.Event()
    stubborn = TritonServer(
        repository,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        grace_s=0,
        ready_timeout_s=0.1,
        tell=lambda line: started.set(),
        installation=Installation(binary, "the test"),
    )
    with pytest.raises(ServerError, match=r"^tritonserver was not ready after 0\.1 s"):
        stubborn.start()
    started.wait()
    assert len(processes_of(binary)) == 1
    stubborn.stop()
    assert processes_of(binary) == []


def test_a_program_that_cannot_run_says_why(make: Make, tmp_path: Path) -> None:
    binary = tmp_path / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho version GLIBC_2.35 not found >&2\nexit 1\n")
    binary.chmod(0o755)
    message = "^tritonserver ended with status 1 before it was ready: version GLIBC_2.35 not found$"
    with (
        pytest.raises(ServerError, match=message),
        make(installation=Installation(binary, "the test")),
    ):
        pass


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "{} is not a directory: pass a repository that 'lanner repository' made"),
        (["file.txt"], "{} holds no model: a model is a directory with a config.pbtxt and a dir"),
        (["model/weights.onnx"], "{} holds no model: a model is a directory with a config.pbtxt"),
        (
            [MANIFEST_FILE],
            "{0} is an artifact, not a model repository: make a repository from it with 'lanner",
        ),
    ],
)
def test_what_is_no_repository(tmp_path: Path, files: list[str], message: str) -> None:
    path = tmp_path / "given"
    for name in files:
        (path / name).parent.mkdir(parents=True)
        (path / name).touch()
    with pytest.raises(RepositoryError, match=f"^{re.escape(message.format(path))}"):
        require_repository(path)


def test_a_model_that_no_process_can_be_started_for(tmp_path: Path) -> None:
    write_triton_model(tmp_path, "a b")
    message = (
        "the Python backend cannot run a model with the name 'a b': rename its directory in "
        f"{tmp_path}, with letters, digits, '_', '.' and '-' alone"
    )
    with pytest.raises(RepositoryError, match=f"^{re.escape(message)}$"):
        require_repository(tmp_path)


def test_a_link_to_a_repository_needs_a_plain_place(tmp_path: Path) -> None:
    work, other = tmp_path / "work", tmp_path / "a b"
    work.mkdir()
    assert plain_path(work, other) == work
    assert plain_path(other, work) == work / "repository"
    with pytest.raises(RepositoryError, match=r"nor through a link in .*: set TMPDIR to a direct"):
        plain_path(other, other)


@pytest.mark.parametrize("name", ["model/config.pbtxt", "model/1/model.onnx"])
def test_what_is_a_repository(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert require_repository(tmp_path) == tmp_path


def test_a_server_that_was_not_started_has_no_process(make: Make) -> None:
    server = make()
    server.wait()
    with pytest.raises(LannerError, match=r"^tritonserver has not been started$"):
        assert server.pid
