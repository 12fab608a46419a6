"""`lanner serve`, as a program of its own with a real server."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.triton_models import BROKEN, processes_of, write_triton_model

from lanner.artifact.artifact import Artifact
from lanner.commands import main, parser
from lanner.loading.load import load
from lanner.triton.server.installation import Installation

PROGRAM = Path(sys.executable).with_name("lanner")
ANY_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
Serve = Callable[..., subprocess.Popen[str]]


def made(artifact: Artifact, repository: Path, *options: str) -> Path:
    """Write a repository of the model "tiny" by the command."""
    making = ["repository", str(artifact.directory), "--output", str(repository)]
    assert main([*making, "--name", "tiny", *options]) == 0
    return repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_triton_model(tmp_path / "repository")


@pytest.fixture
def serve(tritonserver: Installation, tmp_path: Path) -> Iterator[Serve]:
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {
        "LANNER_TRITONSERVER": str(tritonserver.binary),
        "TMPDIR": str(tmp_path / "temporary"),
    }

    def serve(
        repository: Path, *arguments: str, options: Sequence[str] = ("--no-api",)
    ) -> subprocess.Popen[str]:
        # Where the tests run in the background, an interrupt is ignored, and so it would be there.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        command = [
            str(PROGRAM),
            "serve",
            str(repository),
            *ANY_PORTS,
            "--json",
            *options,
            *arguments,
        ]
        with (tmp_path / "stderr").open("w") as told:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=told, text=True, env=environment
            )
        signal.signal(signal.SIGINT, before)
        started.append(process)
        return process

    yield serve
    for process in started:
        process.kill()
        with process:  # closes what it reads, and waits
            pass


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the JSON line of a server that is ready, or an empty object."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it ended"
    said: dict[str, Any] = json.loads(line)
    return said


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(
    serve: Serve, repository: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = serve(repository)
    said = ready(process)
    assert said["models"] == [{"name": "double", "version": "1", "state": "READY"}]
    assert said["pid"] in processes_of(repository)
    process.send_signal(number)
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, "")
    assert processes_of(repository) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    told = (tmp_path / "stderr").read_text()
    urls = f"{said['http_url']}, {said['grpc_url']}, {said['metrics_url']}"
    assert f"\ndouble version 1 is ready\nready: {urls}\nwarning: Triton 2." in told
    assert "\nstopping; Ctrl-C again" in told
    assert "info  successfully loaded 'double'\n" in told
    assert "+--" not in told
    assert "import lanner" not in told  # a model that Lanner did not make tells it nothing


def test_a_second_interrupt_does_not_wait(serve: Serve, repository: Path, tmp_path: Path) -> None:
    process = serve(repository)
    said = ready(process)
    address = said["http_url"].removeprefix("http://localhost:")
    with socket.create_connection(("127.0.0.1", int(address))) as idle:
        # Triton waits for whoever keeps a connection open.
        idle.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGINT)
        until(lambda: "Found 1 HTTP service connections" in (tmp_path / "stderr").read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
    assert processes_of(repository) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (tmp_path / "stderr").read_text().endswith("\nlanner: error: interrupted\n")


def test_a_server_that_dies_fails_the_command(
    serve: Serve, repository: Path, tmp_path: Path
) -> None:
    process = serve(repository)
    os.kill(ready(process)["pid"], signal.SIGKILL)
    assert process.wait() == 1
    assert processes_of(repository) == []
    assert memory_of(process) == []
    last = (tmp_path / "stderr").read_text().splitlines()[-1]
    assert last.startswith(
        "lanner: error: tritonserver was killed by SIGKILL while serving; its last message: "
    )


@pytest.mark.slow
def test_no_server_outlives_a_command_that_is_killed(serve: Serve, repository: Path) -> None:
    process = serve(repository)
    assert ready(process)["pid"] in processes_of(repository)
    process.kill()
    process.wait()
    until(lambda: processes_of(repository) == [])
    assert memory_of(process) == []


def memory_of(process: subprocess.Popen[str]) -> list[Path]:
    return list(Path("/dev/shm").glob(f"lanner-{process.pid}-*"))  # noqa: S108


@pytest.mark.slow
def test_models_that_lanner_made_come_with_the_python_that_calls_them(
    serve: Serve, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    repository = made(tiny_artifact, tmp_path / "made")
    process = serve(repository)
    said = ready(process)
    assert [model["name"] for model in said["models"]] == ["tiny", "tiny_text"]
    process.terminate()
    assert process.wait() == 0
    lines = (
        f'\nimport lanner\nmodel = lanner.connect("{said["grpc_url"]}", "tiny")\n'
        'model.encode("a sentence")\n'
    )
    assert lines in (tmp_path / "stderr").read_text()


def test_over_tls_it_says_what_to_trust(
    serve: Serve, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    pytest.importorskip("trustme", reason="needs the dev extra")
    import trustme  # noqa: PLC0415
    from tests.support.tls import identity, root  # noqa: PLC0415

    repository = made(tiny_artifact, tmp_path / "made", "--no-text")
    authority = trustme.CA()
    own, trusted = identity(authority, tmp_path, "localhost"), root(authority, tmp_path / "ca.pem")
    options = [f"--grpc-server-cert={own.certificate}", f"--grpc-server-key={own.key}"]
    process = serve(repository, "--", "--grpc-use-ssl=1", *options)
    url = ready(process)["grpc_url"]
    assert url.startswith("grpcs://")
    command = [str(PROGRAM), "encode", f"{url}/tiny", "a man", "--root-certificates", str(trusted)]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stdout.startswith(b'{"text": "a man", ')
    process.terminate()
    assert process.wait() == 0
    line = f'model = lanner.connect("{url}", "tiny", root_certificates="ca.pem")\n'
    assert line in (tmp_path / "stderr").read_text()


def test_models_that_tokenise_on_the_server_alone_have_no_service(
    serve: Serve, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra 'service'")
    repository = made(tiny_artifact, tmp_path / "made")
    text_alone = ("--", "--model-control-mode", "explicit", "--load-model=tiny_text")
    process = serve(repository, *text_alone, options=("--port", "0"))
    assert process.wait() == 2
    said = (
        f"{repository} has only models that tokenise on the server (tiny_text), and the service "
        "counts and cuts tokens itself: make the token models beside them again with 'lanner "
        "repository', or pass --no-api to run the Triton server alone\n"
    )
    assert (tmp_path / "stderr").read_text().endswith(said)
    alone = ready(serve(repository, *text_alone))
    target = f"x={alone['grpc_url']}/tiny_text"
    done = subprocess.run(
        [str(PROGRAM), "serve", target, "--port", "0"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"lanner: error: {alone['grpc_url']}/tiny_text tokenises on the server, and the service "
        "counts and cuts tokens itself: name tiny, the token model beside it\n"
    )


def test_options_of_triton_follow_two_dashes(serve: Serve, repository: Path) -> None:
    process = serve(repository, "--", "--model-control-mode", "explicit", "--load-model=double")
    assert [model["state"] for model in ready(process)["models"]] == ["READY"]
    process.terminate()
    assert process.wait() == 0


def test_they_are_no_options_of_lanner() -> None:
    parse = parser().parse_args
    args = parse(["serve", "repo", "--verbose", "--", "--http-thread-count", "2", "--json", "--"])
    assert args.triton_options == ["--http-thread-count", "2", "--json", "--"]
    assert (args.targets, args.verbose, args.json) == (["repo"], True, False)
    assert parse(["serve", "repo"]).triton_options == []
    assert (args.http_port, args.grpc_port, args.metrics_port) == (8000, 8001, 8002)


def run(*arguments: object) -> int:
    try:
        return main(["serve", *map(str, arguments)])
    except SystemExit as stop:  # argparse's own way out
        return int(stop.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to serve: name an artifact, a Triton repository or an address"),
        (["a", "b"], "the target a of a is neither an artifact nor an address of a server"),
        (["--port", "x", "a"], "the setting port cannot be 'x'"),
        (["x=grpc://h", "--no-api"], "--no-api needs a Triton repository"),
        (["x=grpc://h", "--", "--x"], "options after -- are for a repository"),
        (["x=grpc://h", "--alias", "y=z"], "the alias 'y' is of 'z', which is not one of the"),
        (["a", "--http-port", "65536"], "must be a port, 0 to 65535, not '65536'"),
        (["a", "--ready-timeout", "soon"], "must be a number of seconds, not 'soon'"),
        (["a", "--ready-timeout", "0"], "must be a number of seconds, not '0'"),
    ],
)
def test_wrong_usage(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_served_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "gone") == 1
    assert capsys.readouterr().err == (
        f"lanner: error: {tmp_path}/gone is not a directory: pass a repository that 'lanner "
        "repository' made\n"
    )
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 1
    assert capsys.readouterr().err == (
        f"lanner: error: {tmp_path}/empty holds no model: a model is a directory with a "
        "config.pbtxt and a directory for each version; 'lanner repository' makes one\n"
    )


def test_a_taken_port_is_one_line(
    repository: Path, tritonserver: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tritonserver
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104 (as Triton would)
        port = other.getsockname()[1]
        assert run(repository, "--grpc-port", port, "--http-port", 0, "--metrics-port", 0) == 1
    assert capsys.readouterr().err == (
        f"lanner: error: port {port} of 127.0.0.1 cannot be used for grpc (Address already in "
        "use): choose another with --grpc-port, or 0 for any free port\n"
    )


def test_a_model_that_cannot_be_loaded_is_the_last_line(
    tritonserver: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tritonserver
    repository = write_triton_model(tmp_path / "broken", "broken", BROKEN)
    assert run(repository, *ANY_PORTS, "--verbose") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "\n+-----" in err  # the tables of Triton, in all their beauty
    assert err.splitlines()[-1] == (
        "lanner: error: tritonserver cannot load 'broken' version 1: Internal: ValueError: the "
        f"weights are gone ({repository}/broken/1/model.py(3): initialize); fix it in "
        f"{repository}, or remove it there"
    )


def test_an_artifact_is_served_until_it_is_told_to_stop(
    word_artifact: Path, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra 'service'")
    command = [str(PROGRAM), "serve", f"w={word_artifact}", "--port", "0", "--json"]
    with (tmp_path / "stderr").open("w") as told:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True)
    try:
        said = ready(process)
        assert [model["name"] for model in said["models"]] == ["w"]
        request = urllib.request.Request(  # noqa: S310 (our own)
            f"{said['url']}/v1/embeddings", b'{"input": "a", "model": "w"}'
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            assert b'"embedding":[1.0,0.0,0.0,0.0]' in answer.read()
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        with process:
            pass
    lines = (tmp_path / "stderr").read_text().splitlines()
    assert lines[0].startswith("model w: embed, ")
    assert lines[1] == f"ready: {said['url']}"
    (request_line,) = lines[2:]
    assert re.search(r" info request id=\w{16} key=- .* model=w status=200 texts=1 ", request_line)


def test_all_lines_of_a_log_in_json_are_json(word_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra 'service'")
    command = [str(PROGRAM), "serve", f"w={word_artifact}", "--port", "0", "--json"]
    with (tmp_path / "stderr").open("w") as told:
        process = subprocess.Popen(
            # As an operator may.
            [*command, "--log", "json", "--host", "0.0.0.0", "--admin-port", "0"],  # noqa: S104
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
    try:
        said = ready(process)
        for url in (f"{said['url']}/health", f"{said['admin_url']}/metrics"):
            with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
                assert answer.status == 200
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        with process:
            pass
    events = [json.loads(line)["event"] for line in (tmp_path / "stderr").read_text().splitlines()]
    assert events[0].startswith("model w: embed, ")
    assert events[1].startswith("ready: http://localhost:")
    assert events[2:] == [
        f"admin routes: {said['admin_url']}",
        "warning: other machines can reach the service, and it requires no key",
        "request",
        "request",
    ]


def test_the_settings_can_be_checked_alone(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "service.toml"
    file.write_text(f'port = 8123\n[models]\nw = "{word_artifact}"\n')
    assert run("--config", file, "--check-config", "--json") == 0
    out, err = capsys.readouterr()
    assert err == "the settings are valid: w on port 8123\n"
    assert json.loads(out) == {"valid": True, "models": {"w": str(word_artifact)}}
    for settings, message in (
        ({"keys": "none.json"}, "the keys in none.json cannot be read (No such file or directory)"),
        ({"mask": ["iq"]}, "'iq' is nothing that can be masked: use email, ip, iban, id, card, ph"),
        (
            {"mask": ["email"], "mask_patterns": "none.toml"},
            "the patterns in none.toml cannot be r",
        ),
        ({"tls_certificate": "a.pem", "tls_key": "b"}, "the certificates cannot be used (No such"),
        ({"tls_key": "b.pem"}, "tls_certificate and tls_key belong together: give both"),
        (
            {"cors_origins": "here"},
            "'here' is no origin: write for example https://app.example.org",
        ),
        ({"log": "xml"}, "log must be text or json, not 'xml'"),
        ({"admin_port": 8080}, "admin_port must be another port than 8080, that of the service"),
        ({"workers": 65}, "workers must be at most 64, not 65"),
        ({"engine": "abacus"}, "there is no engine 'abacus': use onnxruntime, "),
        ({"variant": "int4"}, "no variant 'int4'"),
        ({"device": "tpu"}, "there is no device 'tpu': use cpu, cuda or 'auto'"),
        ({"mask_with": str(word_artifact)}, "has the head 'embed', whose class is EmbeddingModel"),
        ({"mask_with": "none.lanner"}, "none.lanner is not a directory: pass one that"),
    ):
        wrong = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        file.write_text(f'{wrong}[models]\nw = "{word_artifact}"\n')
        assert run("--config", file, "--check-config") in (1, 2)
        assert message in capsys.readouterr().err
    assert run(word_artifact, "--alias", "a=words:nix", "--check-config") == 2
    said = "the alias 'a' names the prompt 'nix', and words has query, none"
    assert said in capsys.readouterr().err
    assert run(tmp_path / "none", "--check-config") == 1
    assert "none is not a directory: pass a repository that" in capsys.readouterr().err
    file.write_text("prot = 8123\n")
    assert run("--config", file, "--check-config") == 2
    assert "there is no setting 'prot'" in capsys.readouterr().err


def test_the_service_stands_before_a_triton_server(
    serve: Serve, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra 'service'")
    repository = made(tiny_artifact, tmp_path / "made")
    process = serve(repository, options=("--port", "0"))
    said = ready(process)
    request = urllib.request.Request(  # noqa: S310
        f"{said['url']}/v1/embeddings", b'{"input": ["a man", "b"], "model": "tiny"}'
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        found = [one["embedding"] for one in json.loads(answer.read())["data"]]
    expected = load(tiny_artifact.directory).encode(["a man", "b"])
    np.testing.assert_allclose(np.array(found), expected, atol=1e-5)
    with urllib.request.urlopen(f"{said['url']}/metrics", timeout=20) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    # The service's own counts, and those of the server for the same request.
    assert 'lanner_texts_total{model="tiny"} 2' in lines
    assert "lanner_triton_up 1" in lines
    assert any(
        re.match(r'nv_inference_request_success{model="tiny",.*} [1-9]', one) for one in lines
    )
    assert any(re.match(r'lanner_model_info{model="tiny",.*engine="triton"', one) for one in lines)
    process.terminate()
    assert process.wait() == 0
    assert processes_of(repository) == []
