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

CONFIG = "minilm/config.pbtxt"
BATCHING = """\
dynamic_batching {
  preserve_ordering: false
}
"""
BUCKETS = 'parameters { key: "lanner_buckets" value { string_value: "2,4" } }\n'
FREE_LENGTH = changed(ONNX, '"onnxruntime"', '"openvino"')
OPENVINO = FREE_LENGTH.replace("dims: [ -1 ]", "dims: [ 4 ]")
PADDING = 'parameters { key: "ENABLE_BATCH_PADDING" value { string_value: "yes" } }\n'
IO = ONNX[ONNX.index("input [") : ONNX.index("instance_group")]


@pytest.mark.parametrize("config", [ONNX, PYTHON, OPENVINO + PADDING])
def test_nothing_to_say(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "minilm", config, "model.onnx", "model.py", "model.xml", "model.bin")
    assert check(tmp_path) == []


def test_dynamic_batching_without_a_batch_size(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, "max_batch_size: 8", "max_batch_size: 0"))
    problem = "minilm has dynamic_batching, but max_batch_size 0"
    assert faults(tmp_path) == [(CONFIG, 3, "error", "never-batches", problem)]
    assert check(tmp_path)[0].remedy == (
        "max_batch_size: 32, and dims of each input and output without the batch dimension"
    )


def test_dynamic_batching_with_the_batch_size_left_out(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, "max_batch_size: 8\n", ""))
    # Line 13 is that of dynamic_batching, because one line above it is removed.
    assert [(found.line, found.rule) for found in check(tmp_path)] == [(13, "never-batches")]


def test_triton_sets_the_batch_size_where_it_completes_the_tensors(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, IO, "").replace("max_batch_size: 8\n", ""))
    assert check(tmp_path) == []


FREE = changed(
    ONNX.replace("max_batch_size: 8", "max_batch_size: 0").replace(BATCHING, ""),
    "dims: [ 4 ]",
    "dims: [ -1, 4 ]",
)


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_a_free_batch_dimension_that_is_not_used(tmp_path: Path, backend: str) -> None:
    config = FREE.replace("dims: [ -1 ]", "dims: [ -1, -1 ]").replace("onnxruntime", backend)
    write_model(tmp_path, "minilm", config)
    problem = "minilm has tensors of any batch size, but max_batch_size 0"
    assert faults(tmp_path) == [(CONFIG, 3, "warning", "unused-batch-dimension", problem)]


def test_one_free_dimension_may_be_the_length(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", FREE)
    assert check(tmp_path) == []


def test_an_output_of_one_size_has_no_batch_dimension(tmp_path: Path) -> None:
    config = FREE.replace("dims: [ -1 ]", "dims: [ -1, -1 ]").replace("[ -1, 4 ]", "[ 1, 4 ]")
    write_model(tmp_path, "minilm", config)
    assert check(tmp_path) == []


def test_no_dynamic_batching(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, BATCHING, ""))
    problem = "minilm takes batches of 8, but has no dynamic_batching"
    assert faults(tmp_path) == [(CONFIG, 3, "warning", "no-dynamic-batching", problem)]
    assert check(tmp_path)[0].remedy == ("dynamic_batching { }")


@pytest.mark.parametrize(
    "config",
    [
        changed(ONNX, BATCHING, "sequence_batching { }"),
        changed(ONNX, BATCHING, "").replace("max_batch_size: 8", "max_batch_size: 1"),
        changed(OPENVINO, BATCHING, PADDING),
        changed(ONNX, BATCHING, "").replace(IO, ""),
        ENSEMBLE,
    ],
    ids=["sequences", "batches of 1", "openvino sets it", "onnxruntime completes", "ensemble"],
)
def test_no_dynamic_batching_is_needed(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "minilm", config, "model.onnx", "model.xml", "model.bin")
    assert check(tmp_path) == []


def test_preferred_sizes_that_triton_refuses(tmp_path: Path) -> None:
    sizes = "  preferred_batch_size: [ 4,\n    9, 0 ]\n  preserve_ordering"
    write_model(tmp_path, "minilm", changed(ONNX, "  preserve_ordering", sizes))
    problem = "batches of {} are preferred, but max_batch_size is 8"
    assert faults(tmp_path) == [
        (CONFIG, 16, "error", "preferred-batch-size", problem.format(0)),
        (CONFIG, 16, "error", "preferred-batch-size", problem.format(9)),
    ]
    assert {found.remedy for found in check(tmp_path)} == {"preferred_batch_size: [ 4 ]"}


def test_a_single_preferred_size_that_is_too_large(tmp_path: Path) -> None:
    sizes = "  preferred_batch_size: 16\n  preserve_ordering"
    write_model(tmp_path, "minilm", changed(ONNX, "  preserve_ordering", sizes))
    assert [found.remedy for found in check(tmp_path)] == ["max_batch_size: 16"]


DELAY = "  max_queue_delay_microseconds: 500\n  preserve_ordering"


def test_a_delay_that_every_smaller_batch_waits(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, "  preserve_ordering", DELAY))
    problem = "every batch of fewer than 8 waits 500 us"
    assert faults(tmp_path) == [(CONFIG, 15, "warning", "queue-delay", problem)]
    assert check(tmp_path)[0].remedy == (
        "delete max_queue_delay_microseconds, since batches form while the instances are busy; "
        "or name the sizes that do not wait: preferred_batch_size: [ 4, 8 ]"
    )


def test_a_delay_with_preferred_sizes(tmp_path: Path) -> None:
    both = f"  preferred_batch_size: [ 4, 8 ]\n{DELAY}"
    write_model(tmp_path, "minilm", changed(ONNX, "  preserve_ordering", both))
    assert check(tmp_path) == []


def test_texts_of_unequal_length(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, BUCKETS, ""))
    problem = (
        "requests of unequal length never batch: the length of input_ids, attention_mask is free"
    )
    assert faults(tmp_path) == [(CONFIG, 5, "warning", "unequal-lengths", problem)]
    assert check(tmp_path)[0].remedy == (
        "let clients pad to a few lengths, as models of 'lanner repository' do"
    )


def test_texts_of_unequal_length_in_python(tmp_path: Path) -> None:
    config = changed(
        PYTHON,
        "data_type: TYPE_STRING dims: [ 1 ] }\noutput",
        "data_type: TYPE_INT64 dims: -1 }\noutput",
    )
    write_model(tmp_path, "minilm", config)
    assert [(found.line, found.rule, found.remedy) for found in check(tmp_path)] == [
        (3, "unequal-lengths", "allow_ragged_batch: true, in each of these inputs")
    ]


def test_ragged_inputs_may_be_of_unequal_length(tmp_path: Path) -> None:
    config = changed(ONNX, BUCKETS, "").replace("[ -1 ]", "[ -1 ] allow_ragged_batch: true")
    write_model(tmp_path, "minilm", config)
    assert check(tmp_path) == []


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("default_queue_policy { max_queue_size: 64 }", "default_queue_policy"),
        (
            "priority_levels: 1 priority_queue_policy { key: 1 value { max_queue_size: 9 } }",
            "priority_queue_policy",
        ),
    ],
)
def test_a_queue_with_a_policy(tmp_path: Path, policy: str, name: str) -> None:
    config = changed(ONNX, "  preserve_ordering: false\n", f"  {policy}\n")
    write_model(tmp_path, "minilm", config)
    problem = "the queue of minilm has a policy"
    assert faults(tmp_path) == [(CONFIG, 15, "warning", "queue-policy", problem)]
    assert check(tmp_path)[0].remedy == f"omit {name}, unless requests must be refused"


def test_an_empty_policy_is_none(tmp_path: Path) -> None:
    config = changed(ONNX, "  preserve_ordering: false\n", "  default_queue_policy { }\n")
    write_model(tmp_path, "minilm", config)
    assert check(tmp_path) == []


@pytest.mark.parametrize(
    ("parameter", "line"), [("", 3), (PADDING.replace("yes", "no"), 1 + ONNX.count("\n"))]
)
def test_openvino_without_padding_of_batches(tmp_path: Path, parameter: str, line: int) -> None:
    write_model(tmp_path, "minilm", OPENVINO + parameter, "model.xml", "model.bin")
    problem = "requests of fewer than 8 to minilm are refused"
    assert faults(tmp_path) == [(CONFIG, line, "warning", "openvino-batch-padding", problem)]
    assert check(tmp_path)[0].remedy == (
        'parameters { key: "ENABLE_BATCH_PADDING" value { string_value: "YES" } }'
    )


@pytest.mark.parametrize("parameter", ["", PADDING], ids=["without padding", "with padding"])
def test_openvino_answers_nothing_where_the_length_is_free(tmp_path: Path, parameter: str) -> None:
    """All repositories that an earlier Lanner wrote for this backend have this form."""
    write_model(tmp_path, "minilm", FREE_LENGTH + parameter, "model.xml", "model.bin")
    problem = "no request to minilm is answered: the length of input_ids, attention_mask is free"
    assert faults(tmp_path) == [(CONFIG, 5, "error", "openvino-free-length", problem)]
    alone = changed(FREE_LENGTH + parameter, "max_batch_size: 8", "max_batch_size: 0")
    (tmp_path / "minilm" / "config.pbtxt").write_text(alone)
    assert "openvino-free-length" not in [found.rule for found in check(tmp_path)]
