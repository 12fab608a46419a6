"""The log of a server, from lines that tritonserver 2.51 wrote."""

import re
from pathlib import Path

import pytest

from lanner.errors import LannerError, RepositoryError, ServerError, UsageError
from lanner.triton.server.server_log import ServerLog

LINES = """\
I1122 22:46:39.891781 25557 cache_manager.cc:174] "Creating TritonCache: '{\\"size\\":\\"64\\"}'"
E1122 22:46:39.891781 25557 server.cc:241] "CudaDriverHelper has not been initialized."
I1122 22:46:39.891781 25557 model_lifecycle.cc:472] "loading: minilm:1"
I1122 22:46:39.891781 25557 server.cc:604] 
+------------------+------+
| Repository Agent | Path |
+------------------+------+
+------------------+------+

I1122 22:46:40.891781 25557 server.cc:674] 
+--------+---------+
| Model  | Status  |
+--------+---------+

Error: Failed to initialize NVML
W1122 22:46:40.891781 25557 metrics.cc:798] "DCGM unable to start: DCGM initialization error"
Traceback (most recent call last):
  File "model.py", line 20, in execute

ValueError: | not a table
| nor this
E1122 22:46:41.467751077    8911 chttp2_server.cc:1060]    UNKNOWN:No address
I1122 22:46:42.358666 10755 pb_stub.cc:366] "ValueError: no weights\\nhere"\
"""  # noqa: W291
SHOWN = [
    '22:46:39 info  Creating TritonCache: \'{"size":"64"}\'',
    "22:46:39 info  loading: minilm:1",
    "Traceback (most recent call last):",
    '  File "model.py", line 20, in execute',
    "",
    "ValueError: | not a table",
    "| nor this",
    "22:46:41 error UNKNOWN:No address",
    "22:46:42 info  ValueError: no weights",
    "here",
]
OF_A_GPU = ["CudaDriverHelper", "Failed to initialize NVML", "DCGM unable"]


def read(text: str, shown: list[str] | None = None, *, verbose: bool = False) -> ServerLog:
    log = ServerLog(None if shown is None else shown.append, verbose=verbose)
    for line in text.split("\n"):
        log.add(line)
    return log


@pytest.mark.parametrize("has_gpu", [False, True])
def test_people_see_times_levels_and_tracebacks(
    has_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: has_gpu)
    shown: list[str] = []
    log = read(LINES, shown)
    told = [line for line in shown if any(word in line for word in OF_A_GPU)]
    assert len(told) == (3 if has_gpu else 0)
    assert [line for line in shown if line not in told] == SHOWN
    assert log.text == LINES
    assert log.last() == LINES.rsplit("\n", maxsplit=1)[-1]


def test_verbose_is_as_it_was_written() -> None:
    shown: list[str] = []
    read(LINES, shown, verbose=True)
    assert shown == LINES.split("\n")


def test_a_listener_that_fails_is_left_alone() -> None:
    told = []

    def tell(line: str) -> None:
        told.append(line)
        raise BrokenPipeError

    log = ServerLog(tell)
    log.add("one")
    log.add("two")
    assert told == ["one"]
    assert log.text == "one\ntwo"


def test_only_the_last_lines_are_kept() -> None:
    assert read("\n".join(map(str, range(1500)))).text.split("\n")[0] == "500"


RECORD = "E1122 22:46:39.891781 25557 any.cc:1] "
ENDED = "tritonserver ended with status 1 before it was ready: "
MODELS = (
    RECORD + "\"failed to load 'a' version 1: Internal: ValueError: no\\nweights\\n\\nAt:\\n"
    '  /m/a/1/model.py(3): initialize\\n  other.py(1): f\\n"\n'
    + RECORD
    + "\"failed to load 'b' version 2: Invalid argument: unable.\"\n"
    "error: creating server: Internal - failed to load all models"
)
REFUSED = (
    RECORD + "\"failed to load 'a' version 1: Internal: TritonModelException: /m/a/1/model.onnx is "
    'missing: copy it again\\n\\nAt:\\n  /lanner/triton/python_backend.py(53): initialize\\n"\n'
)
OF_REFUSED = (
    "tritonserver cannot load 'a' version 1: /m/a/1/model.onnx is missing: copy it again; fix "
    "it in /m, or remove it there"
)
OF_MODELS = (
    "tritonserver cannot load 'a' version 1: Internal: ValueError: no weights "
    "(/m/a/1/model.py(3): initialize); 'b' version 2: Invalid argument: unable; fix it in /m, "
    "or remove it there"
)
CONFIG = (
    "[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format "
    'inference.ModelConfig: 2:17: Expected integer, got: "x"\n'
    + RECORD
    + "\"Poll failed for model directory 'm': failed to read text proto from m/c.pbtxt\""
)
OF_CONFIG = (
    "tritonserver cannot load 'm': failed to read text proto from m/c.pbtxt (2:17: Expected "
    'integer, got: "x"); fix it in /m, or remove it there'
)
OPTION = "/bin/tritonserver: unrecognized option '--no'\nUsage: tritonserver [options]\n  --help"
VALUE = "Usage: tritonserver [options]\n  --help\n\nInvalid option value. Got x\n\n"
LIBRARY = "error while loading shared libraries: libpython3.12.so.1.0: cannot open"
PORT = "failed to start GRPC service: Unavailable - Socket already in use"


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        (MODELS, RepositoryError, OF_MODELS),
        (REFUSED, RepositoryError, OF_REFUSED),
        (CONFIG, RepositoryError, OF_CONFIG),
        (OPTION, UsageError, "tritonserver refuses its options: unrecognized option '--no'"),
        (VALUE, UsageError, "tritonserver refuses its options: Invalid option value. Got x"),
        (f"/backends/stub: {LIBRARY}", ServerError, ENDED + LIBRARY),
        (f'{RECORD}"{PORT} "\nbye', ServerError, ENDED + PORT),
        ("error: creating server: no\nbye", ServerError, ENDED + "creating server: no"),
        (
            f'{RECORD}"CudaDriverHelper has not been initialized."\nbye\n',
            ServerError,
            ENDED + "bye",
        ),
        ("", ServerError, ENDED + "without a word"),
    ],
    ids=[
        "models",
        "refused by Lanner",
        "config",
        "option",
        "value",
        "library",
        "record",
        "summary",
        "last line",
        "nothing",
    ],
)
def test_why_it_did_not_start(lines: str, kind: type[LannerError], message: str) -> None:
    error = read(lines).failure("ended with status 1", Path("/m"))
    assert type(error) is kind
    assert re.fullmatch(re.escape(message), str(error))


def test_a_message_that_json_does_not_know_is_shown_bare() -> None:
    shown: list[str] = []
    read(RECORD + '"a \\x quote"', shown)
    assert shown == ["22:46:39 error a \\x quote"]


def test_what_is_waited_for_in_vain() -> None:
    log = read("I1122 22:46:39.891781 25557 pb_stub.cc:366] a line")
    assert log.stuck(Path("/m")) is None
    log.add(
        "I1122 22:46:39.891781 25557 pb_stub.cc:2105]  Failed to preinitialize Python stub: Python "
        "model file not found in '/m/a/1/model.py'"
    )
    error = log.stuck(Path("/m"))
    assert type(error) is RepositoryError
    assert str(error) == (
        "tritonserver waits forever for a model: Python model file not found in '/m/a/1/model.py'"
        "; fix it in /m"
    )


@pytest.mark.parametrize(
    "said",
    [
        (
            "1 : FAIL : Load model from /m/1/model.onnx failed:model_load_utils.h:46 onnxruntime"
            "::model_load_utils::ValidateOpsetForDomain(const std::unordered_map<"
        ),
        "9 : NOT_IMPLEMENTED : Could not find an implementation for QuantizeLinear(23) node with ",
    ],
    ids=["ONNX Runtime 1.22", "ONNX Runtime 1.23, int8"],
)
def test_an_onnxruntime_that_is_too_old(said: str) -> None:
    line = f"{RECORD}\"failed to load 'a' version 1: Internal: onnx runtime error {said}\""
    assert str(read(line).failure("ended with status 1", Path("/m"))) == (
        "tritonserver cannot load 'a' version 1: the ONNX Runtime of this Triton is too old for "
        "the graph: fp32 needs Triton 25.12 (ONNX Runtime 1.23) or later, int8 Triton 26.02 (ONNX "
        "Runtime 1.24); or use the backend python; fix it in /m, or remove it there"
    )
