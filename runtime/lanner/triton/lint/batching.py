"""Rules on batching and queues: settings that prevent batches or pile up requests."""

from collections.abc import Iterator
from typing import Any

from lanner.triton.lint.finding import Finding, Rule
from lanner.triton.lint.repository_model import RepositoryModel

#: Lengths that Lanner's models pad to, as "16,32,64".
BUCKETS_PARAMETER = "lanner_buckets"

NEVER_BATCHES = Rule(
    "never-batches",
    "error",
    "with max_batch_size 0 Triton has no batch dimension to join requests along, and "
    "dynamic_batching does nothing (model_configuration.md, 'Maximum Batch Size'; server #5215)",
)
UNUSED_BATCH_DIMENSION = Rule(
    "unused-batch-dimension",
    "warning",
    "with max_batch_size 0 each request runs alone, although all tensors have a free first axis "
    "(model_configuration.md, 'Maximum Batch Size')",
)
NO_DYNAMIC_BATCHING = Rule(
    "no-dynamic-batching",
    "warning",
    "without dynamic_batching requests are not batched, whatever max_batch_size allows, and "
    "the queue cannot be bounded (batcher.md, 'Dynamic Batcher')",
)
QUEUE_DELAY = Rule(
    "queue-delay",
    "warning",
    "if no size is preferred, Triton prefers max_batch_size alone, so any smaller batch waits "
    "the whole delay, even on an idle server (batcher.md, 'Delayed Batching')",
)
PREFERRED_SIZE = Rule(
    "preferred-batch-size",
    "error",
    "Triton refuses a model with a preferred batch size below 1 or above max_batch_size "
    "(ValidateModelConfig of triton-inference-server/core)",
)
UNEQUAL_LENGTHS = Rule(
    "unequal-lengths",
    "warning",
    "Triton batches only requests whose inputs have equal shapes, so texts of unequal length run "
    "one by one (ragged_batching.md; server #3395, #6937, #8156)",
)
QUEUE_POLICY = Rule(
    "queue-policy",
    "warning",
    "with any queue policy Triton's batcher miscounts its idle instances, and sometimes lets "
    "requests wait for half a second (server #8870; measured with 2.51)",
)
BATCH_PADDING = Rule(
    "openvino-batch-padding",
    "warning",
    "the openvino backend answers requests of fewer than max_batch_size with an error, unless it "
    "pads them (README of openvino_backend, ENABLE_BATCH_PADDING)",
)

FREE_LENGTH = Rule(
    "openvino-free-length",
    "error",
    "the openvino backend refuses every request to a model that takes batches and has a free "
    "dimension ('unexpected total byte size', measured with OpenVINO's backend for Triton 26.02)",
)


def lint_batching(model: RepositoryModel) -> Iterator[Finding]:
    """Lint rules for batching."""
    if model.is_ensemble:
        return
    yield from _batch_dimension(model)
    if model.config.max_batch_size > 1:
        yield from _padding(model)
        yield from _no_batcher(model)
    if model.config.HasField("dynamic_batching"):
        yield from _preferred_sizes(model)
        yield from _queue(model)
        if model.config.max_batch_size > 1:
            yield from _delay(model)
            yield from _unequal_lengths(model)


def _batch_dimension(model: RepositoryModel) -> Iterator[Finding]:
    config = model.config
    # If the configuration has no tensors, Triton sets the batch size that the model allows.
    if config.max_batch_size or not model.states_tensors:
        return
    remedy = "max_batch_size: 32, and dims of each input and output without the batch dimension"
    if config.HasField("dynamic_batching"):
        path = "max_batch_size" if "max_batch_size" in model.lines else "dynamic_batching"
        problem = f"{model.name} has dynamic_batching, but max_batch_size 0"
        yield model.finding(NEVER_BATCHES, path, problem, remedy)
    elif model.backend in ("onnxruntime", "tensorrt") and _has_free_batch(model):
        problem = f"{model.name} has tensors of any batch size, but max_batch_size 0"
        remedy += "; dynamic_batching { }"
        yield model.finding(UNUSED_BATCH_DIMENSION, "max_batch_size", problem, remedy)


def _has_free_batch(model: RepositoryModel) -> bool:
    tensors = [tensor for _, tensor in model.tensors()]
    # A single free dimension may be the length instead of the batch.
    return all(tensor.dims[:1] == [-1] for tensor in tensors) and any(
        len(tensor.dims) > 1 for tensor in model.config.input
    )


def _no_batcher(model: RepositoryModel) -> Iterator[Finding]:
    config = model.config
    if config.HasField("dynamic_batching") or config.HasField("sequence_batching"):
        return
    # These backends batch by themselves: OpenVINO always, the others if they complete the tensors.
    completes = model.backend in ("onnxruntime", "tensorrt") and not model.states_tensors
    if model.backend == "openvino" or completes:
        return
    problem = f"{model.name} takes batches of {config.max_batch_size}, but has no dynamic_batching"
    remedy = "dynamic_batching { }"
    yield model.finding(NO_DYNAMIC_BATCHING, "max_batch_size", problem, remedy)


def _preferred_sizes(model: RepositoryModel) -> Iterator[Finding]:
    most = model.config.max_batch_size
    sizes = list(model.config.dynamic_batching.preferred_batch_size)
    allowed = [size for size in sizes if 0 < size <= most]
    for index, size in enumerate(sizes):
        if size not in allowed:
            path = f"dynamic_batching.preferred_batch_size[{index}]"
            problem = f"batches of {size} are preferred, but max_batch_size is {most}"
            remedy = f"max_batch_size: {max(sizes)}"
            if allowed or size < 1:
                remedy = f"preferred_batch_size: [ {', '.join(map(str, allowed))} ]"
            yield model.finding(PREFERRED_SIZE, path, problem, remedy)


def _delay(model: RepositoryModel) -> Iterator[Finding]:
    batching = model.config.dynamic_batching
    delay_us = batching.max_queue_delay_microseconds
    if delay_us and not batching.preferred_batch_size:
        most = model.config.max_batch_size
        problem = f"every batch of fewer than {most} waits {delay_us} us"
        remedy = (
            "delete max_queue_delay_microseconds, since batches form while the instances are busy; "
            f"or name the sizes that do not wait: preferred_batch_size: [ {_half(most)}, {most} ]"
        )
        path = "dynamic_batching.max_queue_delay_microseconds"
        yield model.finding(QUEUE_DELAY, path, problem, remedy)


def _half(size: int) -> int:
    return max(1, size // 2)


def _unequal_lengths(model: RepositoryModel) -> Iterator[Finding]:
    if model.parameter(BUCKETS_PARAMETER):
        return
    if free := _free_inputs(model):
        names = ", ".join(free.values())
        problem = f"requests of unequal length never batch: the length of {names} is free"
        remedy = "let clients pad to a few lengths, as models of 'lanner repository' do"
        if model.backend == "python":
            remedy = "allow_ragged_batch: true, in each of these inputs"
        yield model.finding(UNEQUAL_LENGTHS, next(iter(free)), problem, remedy)


def _free_inputs(model: RepositoryModel) -> dict[str, str]:
    """Return the inputs of any length, by the paths of their dims; not those that are ragged."""
    return {
        f"input[{index}].dims": tensor.name
        for index, tensor in enumerate(model.config.input)
        if -1 in tensor.dims and not tensor.allow_ragged_batch
    }


def _queue(model: RepositoryModel) -> Iterator[Finding]:
    batching = model.config.dynamic_batching
    policies = ("default_queue_policy", "priority_queue_policy")
    for name in policies:
        if _is_set(batching, name):
            problem = f"the queue of {model.name} has a policy"
            remedy = f"omit {name}, unless requests must be refused"
            yield model.finding(QUEUE_POLICY, f"dynamic_batching.{name}", problem, remedy)


def _is_set(batching: Any, name: str) -> bool:
    value = getattr(batching, name)
    return bool(len(value)) if name == "priority_queue_policy" else bool(value.ByteSize())


def _padding(model: RepositoryModel) -> Iterator[Finding]:
    if model.backend != "openvino":
        return
    if free := _free_inputs(model):
        names = ", ".join(free.values())
        problem = f"no request to {model.name} is answered: the length of {names} is free"
        remedy = (
            "make the repository for the backend python; or max_batch_size: 0, the batch dimension "
            "in dims ([ -1, -1 ]), and no dynamic_batching"
        )
        yield model.finding(FREE_LENGTH, next(iter(free)), problem, remedy)
        return
    key = "ENABLE_BATCH_PADDING"
    if (model.parameter(key) or "").lower() != "yes":
        size = model.config.max_batch_size
        problem = f"requests of fewer than {size} to {model.name} are refused"
        remedy = f'parameters {{ key: "{key}" value {{ string_value: "YES" }} }}'
        path = f'parameters["{key}"]' if key in model.config.parameters else "max_batch_size"
        yield model.finding(BATCH_PADDING, path, problem, remedy)
