import shutil
from pathlib import Path

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import (
    ENSEMBLE,
    ONNX,
    PYTHON,
    changed,
    check,
    faults,
    write_model,
)

from lanner.engines.onnx.unsigned_weights import with_unsigned_weights
from lanner.triton.lint.finding import Finding
from lanner.triton.lint.serving_machine import ServingMachine

CONFIG = "minilm/config.pbtxt"
GROUP = "instance_group [\n  { kind: KIND_CPU count: 2 }\n]\n"
INTRA = 'parameters { key: "intra_op_thread_count" value { string_value: "1" } }\n'
OPENVINO = changed(ONNX, '"onnxruntime"', '"openvino"')
OPENVINO = changed(OPENVINO, "intra_op_thread_count", "ENABLE_BATCH_PADDING")
OPENVINO = OPENVINO.replace("dims: [ -1 ]", "dims: [ 4 ]")
OPENVINO = changed(OPENVINO, 'string_value: "1"', 'string_value: "YES"')
ALL_FILES = ("model.onnx", "model.py", "model.xml", "model.bin", "model.plan")
GPU = ServingMachine(cores=2, has_gpu=True)


FILE = 'default_model_filename: "model.onnx"\n'


@pytest.fixture(scope="module")
def signed_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a product with signed weights."""
    onnx = pytest.importorskip("onnx", reason="needs the export extra")
    text = """
    <ir_version: 10, opset_import: ["": 20]> g (uint8[n, 2] x) => (int32[n, 2] y)
    <int8[2, 2] w = {-1, 2, 3, 4}, int8 wz = {0}, uint8 z = {0}>
    { y = MatMulInteger(x, w, z, wz) }
    """
    path: Path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.mark.parametrize(
    ("backend", "remedy"), [("onnxruntime", "onnxruntime or python"), ("openvino", "python")]
)
def test_signed_weights_on_a_processor_without_vnni(
    backend: str, remedy: str, signed_graph: Path, tmp_path: Path
) -> None:
    config = (OPENVINO if backend == "openvino" else ONNX) + FILE
    version = write_model(tmp_path, "minilm", config, "model.onnx") / "1"
    shutil.copyfile(signed_graph, version / "model.onnx")
    elsewhere = ServingMachine(cores=2, has_fast_int8=False)

    def found(machine: ServingMachine) -> list[Finding]:
        return [one for one in check(tmp_path, machine) if one.rule == "saturating-int8"]

    assert found(ServingMachine(cores=2)) == []
    (finding,) = found(elsewhere)
    assert (finding.file, finding.severity) == (version / "model.onnx", "error")
    assert finding.problem == "minilm has signed weights, but this processor has no VNNI"
    assert finding.remedy == (
        f"make the repository again on this machine, with the backend {remedy}"
    )
    content = with_unsigned_weights(signed_graph)
    assert content is not None
    (version / "model.onnx").write_bytes(content)
    assert found(elsewhere) == []
    config = changed(config, f'backend: "{backend}"', 'backend: "python"')
    (tmp_path / "minilm" / "config.pbtxt").write_text(config)
    shutil.copyfile(signed_graph, version / "model.onnx")
    assert found(elsewhere) == []


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def threads(directory: Path, config: str, machine: ServingMachine) -> list[tuple[int, str]]:
    """Return line and problem of each finding about threads."""
    write_model(directory, "minilm", config, *ALL_FILES)
    found = check(directory, machine)
    return [(row.line, row.problem) for row in found if row.rule == "too-many-threads"]


@pytest.mark.parametrize(
    ("config", "cores", "line", "total", "instances", "each"),
    [
        (ONNX, 1, 17, 2, 2, 1),
        (ONNX.replace(INTRA, parameter("intra_op_thread_count", "3")), 4, 17, 6, 2, 3),
        # 0, or no parameter, means a thread for each core.
        (ONNX.replace(INTRA, parameter("intra_op_thread_count", "0")), 4, 17, 8, 2, 4),
        (changed(ONNX, INTRA, ""), 4, 12, 8, 2, 4),
        # Without a count, or without a group, there are two instances.
        (changed(ONNX, " count: 2", ""), 1, 17, 2, 2, 1),
        (changed(ONNX, GROUP, ""), 1, 14, 2, 2, 1),
        # Threads between operators count too: 2 + 3 - 1 for each instance.
        (
            ONNX.replace(INTRA, parameter("intra_op_thread_count", "2"))
            + parameter("execution_mode", "1")
            + parameter("inter_op_thread_count", "3"),
            *(4, 17, 8, 2, 4),
        ),
        # One pool of 4 threads, one of which is the caller's, and 2 callers.
        (
            ONNX.replace(INTRA, parameter("intra_op_thread_count", "4"))
            + parameter("share_session_between_instances", "true"),
            *(4, 17, 5, 2, 4),
        ),
        (PYTHON + parameter("threads", "3"), 2, 10, 3, 1, 3),
        # Lanner's own models share the cores, but each has at least one thread.
        (
            PYTHON + parameter("lanner_input", "text") + "instance_group { count: 3 }",
            *(2, 11, 3, 3, 1),
        ),
    ],
)
def test_more_threads_than_cores(
    tmp_path: Path, config: str, cores: int, line: int, total: int, instances: int, each: int
) -> None:
    on = "1 core" if cores == 1 else f"{cores} cores"
    of = "1 instance" if instances == 1 else f"{instances} instances"
    found = threads(tmp_path, config, ServingMachine(cores))
    assert found == [(line, f"minilm runs up to {total} threads on {on}: {of} of {each}")]


def test_the_remedy_fits_the_cores(tmp_path: Path) -> None:
    config = changed(ONNX, INTRA, parameter("intra_op_thread_count", "8"))
    write_model(tmp_path, "minilm", config)
    assert check(tmp_path, ServingMachine(cores=7))[0].remedy == (
        "instead: instance_group { kind: KIND_CPU count: 2 } "
        'parameters { key: "intra_op_thread_count" value { string_value: "3" } }'
    )


@pytest.mark.parametrize(
    ("config", "machine"),
    [
        (ONNX, ServingMachine(cores=2)),
        # Only parallel execution has threads between operators.
        (ONNX + parameter("inter_op_thread_count", "9"), ServingMachine(cores=2)),
        (changed(ONNX, "KIND_CPU", "KIND_GPU").replace(INTRA, ""), GPU),
        (changed(ONNX, GROUP, "").replace(INTRA, ""), GPU),
        # The linter knows nothing about other people's Python.
        (PYTHON + "instance_group { count: 9 }", ServingMachine(cores=2)),
        (
            PYTHON + parameter("lanner_input", "text") + "instance_group { count: 2 }",
            ServingMachine(cores=3),
        ),
        # This model has its engine elsewhere.
        (
            PYTHON
            + parameter("lanner_input", "text")
            + parameter("token_model", "other")
            + "instance_group { count: 9 }",
            ServingMachine(cores=2),
        ),
        # The instances of OpenVINO share its threads.
        (changed(OPENVINO, "count: 2", "count: 12"), ServingMachine(cores=2)),
    ],
)
def test_no_more_threads_than_cores(tmp_path: Path, config: str, machine: ServingMachine) -> None:
    assert threads(tmp_path, config, machine) == []


@pytest.mark.parametrize("key", ["INFERENCE_NUM_THREADS", "NUM_STREAMS"])
def test_more_threads_of_openvino_than_cores(tmp_path: Path, key: str) -> None:
    write_model(tmp_path, "minilm", OPENVINO + parameter(key, "3"), "model.xml", "model.bin")
    (found,) = check(tmp_path)
    assert found.problem == "minilm runs 3 threads on 2 cores"
    assert found.remedy == (
        'parameters { key: "INFERENCE_NUM_THREADS" value { string_value: "2" } } '
        'parameters { key: "NUM_STREAMS" value { string_value: "2" } }'
    )


def test_more_threads_of_all_models_than_cores(tmp_path: Path) -> None:
    write_model(tmp_path, "a", changed(ONNX, 'name: "minilm"\n', ""))
    write_model(tmp_path, "b", PYTHON + parameter("threads", "2"))
    write_model(tmp_path, "c", PYTHON)
    write_model(tmp_path, "d", PYTHON + parameter("lanner_input", "text"))
    assert faults(tmp_path) == [
        (
            ".",
            1,
            "warning",
            "too-many-threads",
            "the models run up to 4 threads on 2 cores: a 2, b 2",
        )
    ]
    assert check(tmp_path, ServingMachine(cores=4)) == []


@pytest.mark.parametrize("value", ["auto", "-1", ""])
def test_a_thread_count_that_is_none(tmp_path: Path, value: str) -> None:
    config = changed(ONNX, INTRA, parameter("intra_op_thread_count", value))
    write_model(tmp_path, "minilm", config)
    found = [row for row in faults(tmp_path) if row[3] == "thread-count"]
    problem = f"intra_op_thread_count is {value!r}"
    assert found == [(CONFIG, 17, "error", "thread-count", problem)]


def test_no_optimisation_of_the_graph(tmp_path: Path) -> None:
    level = "optimization {\n  graph {\n    level: 2\n  }\n}\n"
    write_model(tmp_path, "minilm", level + ONNX)
    problem = "the graph of minilm is not optimised"
    assert faults(tmp_path) == [(CONFIG, 3, "warning", "no-graph-optimization", problem)]
    assert check(tmp_path)[0].remedy == "delete optimization { graph { level: 2 } }"


@pytest.mark.parametrize(
    "config",
    [
        "optimization { graph { level: 1 } }\n" + ONNX,
        "optimization { graph { level: -1 } }\n" + ONNX,
        # Level 2 is onnxruntime's own.
        "optimization { graph { level: 2 } }\n" + PYTHON,
    ],
)
def test_other_levels_optimise(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "minilm", config)
    assert check(tmp_path) == []


def test_an_instance_on_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, "KIND_CPU", "KIND_GPU"))
    problem = "minilm has instances on a GPU, but this machine has no GPU"
    assert faults(tmp_path) == [(CONFIG, 12, "warning", "no-gpu", problem)]
    assert check(tmp_path, GPU) == []


def test_no_warm_up(tmp_path: Path) -> None:
    config = ONNX[: ONNX.index("model_warmup")]
    write_model(tmp_path, "minilm", config)
    assert faults(tmp_path) == [(CONFIG, 1, "warning", "no-warm-up", "minilm is not warmed up")]
    assert check(tmp_path)[0].remedy == (
        'model_warmup { name: "first" batch_size: 1 '
        'inputs { key: "input_ids" value { data_type: TYPE_INT64 dims: [ 16 ] zero_data: true } } '
        'inputs { key: "attention_mask" '
        "value { data_type: TYPE_INT64 dims: [ 16 ] zero_data: true } } }"
    )


def test_the_warm_up_that_is_proposed_will_do(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "minilm", ONNX[: ONNX.index("model_warmup")])
    (found,) = check(tmp_path)
    with (directory / "config.pbtxt").open("a", encoding="utf-8") as file:
        file.write(found.remedy)
    assert check(tmp_path) == []


def test_other_backends_need_no_warm_up(tmp_path: Path) -> None:
    config = changed(PYTHON[: PYTHON.index("model_warmup")], '"python"', '"identity"')
    write_model(tmp_path, "minilm", config)
    assert check(tmp_path) == []


CACHE = "response_cache {\n  enable: true\n}\n"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (PYTHON + "model_transaction_policy { decoupled: true }", "is decoupled"),
        (
            PYTHON.replace(
                "dynamic_batching { }",
                "sequence_batching { }",
            ),
            "has sequence_batching",
        ),
    ],
)
def test_a_cache_that_triton_refuses(tmp_path: Path, config: str, reason: str) -> None:
    write_model(tmp_path, "part", CACHE + config)
    problem = f"part has a response cache, but part {reason}"
    assert faults(tmp_path) == [("part/config.pbtxt", 2, "error", "uncacheable", problem)]
    assert check(tmp_path)[0].remedy == "response_cache { enable: false }"


def test_an_ensemble_is_cached_as_its_models_could_be(tmp_path: Path) -> None:
    write_model(tmp_path, "all", CACHE + ENSEMBLE)
    part = write_model(tmp_path, "part", PYTHON)
    assert check(tmp_path) == []
    (part / "config.pbtxt").write_text(
        PYTHON + "model_transaction_policy { decoupled: true }", encoding="utf-8"
    )
    problem = "all has a response cache, but part is decoupled"
    assert faults(tmp_path) == [("all/config.pbtxt", 2, "error", "uncacheable", problem)]


def test_a_model_of_an_ensemble_may_be_cached(tmp_path: Path) -> None:
    write_model(tmp_path, "all", ENSEMBLE)
    write_model(tmp_path, "part", CACHE + PYTHON)
    assert check(tmp_path) == []
    assert check(tmp_path, GPU) == []


def test_between_models_on_a_gpu_nothing_is_cached(tmp_path: Path) -> None:
    config = CACHE + changed(ONNX, "KIND_CPU", "KIND_GPU").replace('name: "minilm"\n', "")
    write_model(tmp_path, "part", config)
    assert check(tmp_path, GPU) == []
    write_model(tmp_path, "all", ENSEMBLE)
    problem = "part has a response cache, runs on a GPU and is in all"
    assert faults(tmp_path, GPU) == [("part/config.pbtxt", 2, "warning", "cache-on-gpu", problem)]
    assert check(tmp_path, GPU)[0].remedy == (
        "response_cache { enable: false }, and true in the ensemble"
    )
