import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.manifests import FP32, INT8, manifest

from lanner.triton.contract.model_config import parse_config
from lanner.triton.repository.config_text import text_config, token_config
from lanner.triton.repository.serving import BACKENDS, Serving

BEGINNING = """
name: "%s"
backend: "%s"
max_batch_size: 64
version_policy { latest { num_versions: %d } }
dynamic_batching { }
"""
CPU = "instance_group { count: 1 kind: KIND_CPU }\n"
VECTOR = 'output { name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 4 ] }\n'
LOGITS = 'output { name: "logits" data_type: TYPE_FP32 dims: [ 3 ] }\n'
TAGS = 'output { name: "logits" data_type: TYPE_FP32 dims: [ -1, 3 ] }\n'
TEXT = 'input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }\n'
TYPED = ["input_ids", "attention_mask", "token_type_ids"]
CARRIED = {"lanner_file.1.manifest.json": "eJw="}


def parameters(**values: str) -> str:
    pairs = {**values, **CARRIED}
    return "".join(parameter(key, value) for key, value in pairs.items())


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def ids(*names: str, more: str = "") -> str:
    return "".join(
        f'input {{ name: "{name}" data_type: TYPE_INT64 dims: [ -1 ] {more} }}\n' for name in names
    )


def sample(length: int, *names: str) -> str:
    inputs = "".join(
        f'inputs {{ key: "{name}" value {{ data_type: TYPE_INT64 dims: [ {length} ] '
        + (f'input_data_file: "ones.{length}"' if name == "attention_mask" else "zero_data: true")
        + " } }\n"
        for name in names
    )
    return f'model_warmup {{ name: "{length} tokens" batch_size: 1 {inputs} }}\n'


def text_sample(*names: str) -> str:
    value = 'data_type: TYPE_STRING dims: [ 1 ] input_data_file: "text"'
    inputs = "".join(f'inputs {{ key: "{name}" value {{ {value} }} }}\n' for name in names)
    return f'model_warmup {{ name: "a text" batch_size: 1 {inputs} }}\n'


def parsed(text: str) -> Any:
    return parse_config(text, Path("config.pbtxt"))


def beginning(name: str, backend: str) -> str:
    # A token model that text models call keeps the version before the newest.
    return BEGINNING % (name, backend, 1 if backend == "python" else 2)


def token(made: Any = None, **serving: Any) -> Any:
    return parsed(token_config("m", made or manifest(), FP32, Serving(**serving), CARRIED))


def of_text(made: Any = None, **serving: Any) -> Any:
    return parsed(text_config("m_text", made or manifest(), FP32, Serving(**serving), CARRIED))


EXPECTED = {
    "python": (
        ids(*TYPED[:2], more="allow_ragged_batch: true")
        + sample(4, *TYPED[:2])
        + CPU
        + parameters(lanner_input="tokens", lanner_variant="fp32", engine="auto")
    ),
    "onnxruntime": (
        'default_model_filename: "model.fp32.onnx"\n'
        + ids(*TYPED[:2])
        + sample(4, *TYPED[:2])
        + CPU
        + "optimization { graph { level: -1 } }\n"
        + parameters(
            lanner_input="tokens",
            lanner_variant="fp32",
            lanner_buckets="4",
            intra_op_thread_count="6",
            inter_op_thread_count="1",
            enable_mem_pattern="0",
        )
    ),
    "tensorrt": (
        'default_model_filename: "model.fp32.onnx"\n'
        + ids(*TYPED[:2])
        + sample(4, *TYPED[:2])
        + "instance_group { count: 1 kind: KIND_GPU }\n"
        + "optimization { cuda { graphs: true } }\n"
        + parameters(lanner_input="tokens", lanner_variant="fp32", lanner_buckets="4")
    ),
}


@pytest.fixture(autouse=True)
def _six_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanner.triton.repository.onnxruntime.available_cores", lambda: 6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_token_model(backend: str) -> None:
    expected = parsed(beginning("m", backend) + EXPECTED[backend] + VECTOR)
    assert token(backend=backend) == expected


@pytest.mark.parametrize(
    ("head", "output"), [("score", LOGITS), ("classify", LOGITS), ("tag", TAGS)]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_token_model_of_another_head(backend: str, head: str, output: str) -> None:
    expected = parsed(beginning("m", backend) + EXPECTED[backend] + output)
    assert token(manifest(head), backend=backend) == expected


def test_token_types_may_be_left_out_where_the_model_fills_them_in() -> None:
    made = manifest(inputs=TYPED)
    ragged = "allow_ragged_batch: true"
    types = ids("token_type_ids", more=f"{ragged} optional: true")
    python = EXPECTED["python"].replace(sample(4, *TYPED[:2]), sample(4, *TYPED))
    assert token(made) == parsed(beginning("m", "python") + python + VECTOR + types)
    onnx = EXPECTED["onnxruntime"].replace(sample(4, *TYPED[:2]), sample(4, *TYPED))
    expected = beginning("m", "onnxruntime") + onnx + VECTOR + ids("token_type_ids")
    assert token(made, backend="onnxruntime") == parsed(expected)


IN_PYTHON = parameters(lanner_input="text", lanner_variant="fp32", engine="auto")
TOKEN_MODEL = parameter("token_model", "m")
#: The tensors of each head, and the runs before the model is ready.
TEXT_MODELS = {
    "embed": (TEXT + VECTOR, text_sample("text")),
    "score": (
        TEXT + 'input { name: "text_pair" data_type: TYPE_STRING dims: [ 1 ] }\n' + LOGITS,
        text_sample("text", "text_pair"),
    ),
    "classify": (
        TEXT
        + 'input { name: "text_pair" data_type: TYPE_STRING dims: [ 1 ] optional: true }\n'
        + LOGITS,
        text_sample("text"),
    ),
    "tag": (
        TEXT
        + TAGS
        + 'output { name: "offsets" data_type: TYPE_INT64 dims: [ -1, 2 ] }\n'
        + 'output { name: "continues" data_type: TYPE_INT64 dims: [ -1 ] }\n',
        text_sample("text"),
    ),
}


@pytest.mark.parametrize("head", TEXT_MODELS)
def test_a_text_model_with_an_engine_of_its_own(head: str) -> None:
    tensors, warmup = TEXT_MODELS[head]
    expected = beginning("m_text", "python") + tensors + warmup + CPU + IN_PYTHON
    assert of_text(manifest(head)) == parsed(expected)


@pytest.mark.parametrize("head", TEXT_MODELS)
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_text_model_beside_a_token_model(backend: str, head: str) -> None:
    own = IN_PYTHON + TOKEN_MODEL + parameter("lanner_buckets", "4")
    # A server that still loads its models runs none of them, so it cannot warm up.
    expected = beginning("m_text", "python") + TEXT_MODELS[head][0] + CPU + own
    assert of_text(manifest(head), backend=backend) == parsed(expected)


def test_a_text_model_takes_names_of_prompts_if_one_has_a_text() -> None:
    tensors, warmup = TEXT_MODELS["embed"]
    name = 'input { name: "prompt_name" data_type: TYPE_STRING dims: [ 1 ] optional: true }\n'
    ending = warmup + CPU + IN_PYTHON
    expected = beginning("m_text", "python") + tensors + name + ending
    assert of_text(manifest(prompts={"query": "q: ", "document": ""})) == parsed(expected)
    # sentence-transformers writes both names, with empty texts, for models without prompts.
    expected = beginning("m_text", "python") + tensors + ending
    assert of_text(manifest(prompts={"query": "", "document": ""})) == parsed(expected)


def test_a_text_model_that_shares_an_engine_in_python() -> None:
    own = CPU + IN_PYTHON + TOKEN_MODEL
    expected = beginning("m_text", "python") + TEXT_MODELS["embed"][0] + own
    assert of_text(shares_engine=True) == parsed(expected)
    # Its token model keeps the version before the newest, and is otherwise unchanged.
    alone, called = token(), token(shares_engine=True)
    assert called.version_policy.latest.num_versions == 2
    called.version_policy.latest.num_versions = 1
    assert called == alone
    serving = Serving(shares_engine=True)
    config = parsed(token_config("m", manifest(), FP32, serving, CARRIED, keeps_one=False))
    assert config.version_policy.latest.num_versions == 1


def test_queues_as_they_were_asked_for() -> None:
    asked = {
        "max_batch_size": 16,
        "max_queue_delay_us": 500,
        "preferred_batch_sizes": (4, 16),
        "max_queue_size": 7,
        "queue_timeout_ms": 250,
        "priority_levels": 3,
        "response_cache": True,
    }
    batching = parsed(
        """
        dynamic_batching {
          preferred_batch_size: [ 4, 16 ]
          max_queue_delay_microseconds: 500
          priority_levels: 3
          default_priority_level: 2
          default_queue_policy {
            default_timeout_microseconds: 250000
            allow_timeout_override: true
            max_queue_size: 7
          }
        }
        """
    )
    for config in (token(**asked), of_text(**asked)):
        assert config.max_batch_size == 16
        assert config.dynamic_batching == batching.dynamic_batching
        assert config.response_cache.enable


@pytest.mark.parametrize(("levels", "default"), [(1, 1), (2, 1), (5, 3)])
def test_the_default_priority_is_in_the_middle(levels: int, default: int) -> None:
    batching = token(priority_levels=levels).dynamic_batching
    assert (batching.priority_levels, batching.default_priority_level) == (levels, default)


@pytest.mark.parametrize(
    ("backend", "key"),
    [
        ("python", "threads"),
        ("onnxruntime", "intra_op_thread_count"),
    ],
)
def test_cores_are_shared_by_the_instances(backend: str, key: str) -> None:
    config = token(backend=backend, cores=5, instances=2)
    assert config.instance_group[0].count == 2
    assert config.parameters[key].string_value == "2"


def test_cores_that_are_not_known_are_shared_where_they_are() -> None:
    assert "threads" not in token(instances=3).parameters
    assert "threads" not in of_text(instances=3).parameters


@pytest.mark.parametrize(("instances", "threads"), [(1, "6"), (4, "1"), (9, "1")])
def test_instances_of_onnxruntime_share_the_cores_here_where_none_are_named(
    instances: int, threads: str
) -> None:
    config = token(backend="onnxruntime", instances=instances)
    assert config.parameters["intra_op_thread_count"].string_value == threads


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_text_model_shares_the_cores_too(backend: str) -> None:
    config = of_text(backend=backend, cores=5, instances=2)
    assert (config.instance_group[0].count, config.instance_group[0].kind) == (2, 2)  # KIND_CPU
    assert config.parameters["threads"].string_value == "2"


@pytest.mark.parametrize(
    ("max_tokens", "lengths"),
    [
        (4, [4]),
        (8, [8]),
        (100, [8, 16, 32, 64, 100]),
        (512, [8, 16, 32, 64, 128, 256, 512]),
        (8192, [8, 16, 32, 64, 128, 256, 512]),
        (None, [8, 16, 32, 64, 128, 256, 512]),
    ],
)
def test_lengths_that_run_before_the_model_is_ready(
    max_tokens: int | None, lengths: list[int]
) -> None:
    config = token(manifest(max_tokens=max_tokens))
    assert [request.name for request in config.model_warmup] == [f"{n} tokens" for n in lengths]


def test_every_bucket_runs_before_the_model_is_ready() -> None:
    made = manifest(max_tokens=32)
    config = token(made, backend="onnxruntime")
    assert config.parameters["lanner_buckets"].string_value == "16,24,32"
    assert [request.name for request in config.model_warmup] == [
        "16 tokens",
        "24 tokens",
        "32 tokens",
    ]
    config = token(made, buckets=(5, 32))
    assert config.parameters["lanner_buckets"].string_value == "5,32"
    assert [request.name for request in config.model_warmup] == ["5 tokens", "32 tokens"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_runs_before_the_model_is_ready_if_so_asked(backend: str) -> None:
    assert not token(backend=backend, warmup=False).model_warmup
    assert not of_text(backend=backend, warmup=False).model_warmup


def test_the_variant_that_runs_is_named() -> None:
    serving = Serving(backend="onnxruntime")
    config = parsed(token_config("m", manifest(), INT8, serving, CARRIED))
    assert config.default_model_filename == "model.int8.onnx"
    assert config.parameters["lanner_variant"].string_value == "int8"
    text = parsed(text_config("m_text", manifest(), INT8, serving, CARRIED))
    assert text.parameters["lanner_variant"].string_value == "int8"


COMMENTS = [
    ("# words, embed, fp32. Written by 'lanner repository', which", "name: "),
    ("# Only requests of equal length run together: fill", "input {"),
    ("# What it answers, for each text.", "output {"),
    ("# What waits while the model is busy runs together next.", "dynamic_batching {"),
    ("# Answers are remembered where tritonserver runs with", "response_cache {"),
    ("# Instances share the cores: count times threads must", "instance_group {"),
    ("# Each length runs once before the model counts as", "model_warmup {"),
    ("# The graph in the file is optimized already", "optimization {"),
    ("# What the client and the text model go by.", "parameters {"),
    ("# For clients, which fetch it with the configuration", "parameters {"),
]


def test_each_comment_stands_before_what_it_is_about() -> None:
    serving = Serving(backend="onnxruntime", response_cache=True)
    text = token_config("m", manifest(), FP32, serving, CARRIED)
    sections = text.rstrip("\n").split("\n\n")
    assert len(sections) == len(COMMENTS)
    for section, (comment, field) in zip(sections, COMMENTS, strict=True):
        lines = section.splitlines()
        assert lines[0].startswith(comment)
        fields = [line for line in lines if not line.startswith("#")]
        assert fields[0].startswith(field)
        # The whole comment comes first.
        assert lines[-len(fields) :] == fields


@pytest.mark.parametrize(
    ("backend", "comment"),
    [
        (
            "python",
            "# threads: the cores of one instance; without it, its share of those that the server",
        ),
        (
            "onnxruntime",
            "# intra_op_thread_count: the cores of one instance; with 0 ONNX Runtime would pin its",
        ),
        ("onnxruntime", "# It needs Triton 25.12 (ONNX Runtime 1.23) or later."),
        ("tensorrt", "# A CUDA graph for each shape that comes again: launches cost nothing."),
        ("tensorrt", "# An instance a GPU; a second one hides its transfers."),
        (
            "python",
            "# Requests of unequal length run together: the model packs them itself.",
        ),
    ],
)
def test_comments_are_of_the_backend(backend: str, comment: str) -> None:
    text = token_config("m", manifest(), FP32, Serving(backend=backend), CARRIED)
    assert comment in text.splitlines()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_line_is_too_wide_to_read(backend: str) -> None:
    for text in (
        token_config("m", manifest(), FP32, Serving(backend=backend), CARRIED),
        text_config("m_text", manifest(), FP32, Serving(backend=backend), CARRIED),
    ):
        assert max(map(len, text.splitlines())) <= 100
        assert not re.search(r"[ \t]\n|\n\n\n", text)
        assert text.endswith("}\n")


def test_a_name_of_several_lines_stays_in_its_comment() -> None:
    made = manifest(name='a\nname: "other"')
    assert token(made).name == "m"
