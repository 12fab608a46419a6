"""Rules on the execution of a model: its threads and instances, its GPU, its warm-up, its cache."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanner.engines.onnx.unsigned_weights import has_signed_weights
from lanner.triton.contract.tensors import INPUT_KIND, TEXT_KIND, TEXT_SUFFIX, THREADS, TOKEN_MODEL
from lanner.triton.lint.finding import Finding, Rule
from lanner.triton.lint.layout import default_file
from lanner.triton.lint.repository_model import RepositoryModel
from lanner.triton.lint.serving_machine import ServingMachine

TOO_MANY_THREADS = Rule(
    "too-many-threads",
    "warning",
    "threads that compete for cores make every request slower than fewer threads would "
    "(onnxruntime_backend #34, #245, #265)",
)
THREAD_COUNT = Rule(
    "thread-count",
    "error",
    "the backend reads that parameter as an integer, and refuses the model otherwise (README "
    "of its repository)",
)
NO_OPTIMIZATION = Rule(
    "no-graph-optimization",
    "warning",
    "in the onnxruntime backend, level 2 switches off all optimisation: -1 is basic, 1 extended, "
    "and the default is all (README of onnxruntime_backend)",
)
NO_GPU = Rule(
    "no-gpu",
    "warning",
    "Triton refuses a model with instances of KIND_GPU on a machine without an NVIDIA GPU "
    "(ValidateInstanceGroup of triton-inference-server/core)",
)
NO_WARM_UP = Rule(
    "no-warm-up",
    "warning",
    "backends defer some of their initialisation to the first requests, which are slow then, "
    "although Triton reports the model as ready (model_configuration.md, 'Model Warmup')",
)
UNCACHEABLE = Rule(
    "uncacheable",
    "error",
    "the response cache refuses decoupled models and those with sequence_batching, and an ensemble "
    "is cached only if each model in it could be (response_cache.md, 'Known Limitations')",
)
CACHE_ON_GPU = Rule(
    "cache-on-gpu",
    "warning",
    "only tensors in CPU memory are cached, and tensors between the models of an ensemble may stay "
    "on the GPU (response_cache.md, 'Known Limitations')",
)

SATURATING = Rule(
    "saturating-int8",
    "error",
    "on a processor without VNNI products of unsigned and signed bytes saturate at 16 bits, and "
    "the model gives wrong answers (ONNX Runtime, 'Quantize ONNX models')",
)

_WARMED_BACKENDS = ("onnxruntime", "tensorrt", "openvino", "python")
_THREAD_PARAMETERS = {
    "onnxruntime": ("intra_op_thread_count", "inter_op_thread_count"),
    "openvino": ("INFERENCE_NUM_THREADS",),
    "python": (THREADS,),
}
#: The kinds of an instance group, by model_config.proto.
_KIND_AUTO, _KIND_GPU, _KIND_CPU = 0, 1, 2
#: A free dimension in a warm-up request.
_WARM_UP_LENGTH = 16


def lint_execution(model: RepositoryModel, machine: ServingMachine) -> Iterator[Finding]:
    """Lint rules for the execution of one model."""
    yield from _thread_counts(model)
    yield from _threads_of_one(model, machine)
    yield from _optimization(model)
    yield from _gpu(model, machine)
    yield from _bytes(model, machine)
    yield from _warm_up(model)


@dataclass(frozen=True)
class _Load:
    """The threads that a model may run at once on the CPU: instances times threads of each."""

    instances: int
    threads: int
    total: int


def lint_cores(
    repository: Path, models: Sequence[RepositoryModel], machine: ServingMachine
) -> Iterator[Finding]:
    """Lint rule for the threads of all models together, if more than one has any."""
    names = {model.name for model in models}
    loads = {
        model.name: load
        for model in models
        if not _is_other_way_in(model, names)
        and not _shares_itself(model)
        and (load := _load(model, machine)) is not None
    }
    total = sum(load.total for load in loads.values())
    if len(loads) > 1 and total > machine.cores:
        each = ", ".join(f"{name} {load.total}" for name, load in sorted(loads.items()))
        cores = _counted(machine.cores, "core")
        problem = f"the models run up to {total} threads on {cores}: {each}"
        remedy = "give each a share of the cores, by its numbers of instances and threads"
        yield TOO_MANY_THREADS.at(repository, 1, problem, remedy)


def _is_other_way_in(model: RepositoryModel, names: Set[str]) -> bool:
    """True for the text model of a token model in `names`: a client calls only one of the two."""
    is_text = model.parameter(INPUT_KIND) == TEXT_KIND
    return is_text and model.name.removesuffix(TEXT_SUFFIX) in names - {model.name}


def lint_caches(models: Sequence[RepositoryModel], machine: ServingMachine) -> Iterator[Finding]:
    """Lint rule for response caches that cannot work, alone or in an ensemble."""
    by_name = {model.name: model for model in models}
    for model in models:
        parts = _parts(model, by_name)
        if model.config.response_cache.enable:
            for part in (model, *parts):
                if reason := _uncacheable(part):
                    problem = f"{model.name} has a response cache, but {part.name} {reason}"
                    path = "response_cache.enable"
                    remedy = "response_cache { enable: false }"
                    yield model.finding(UNCACHEABLE, path, problem, remedy)
        for part in parts:
            if part.config.response_cache.enable and is_on_gpu(part, machine):
                problem = f"{part.name} has a response cache, runs on a GPU and is in {model.name}"
                remedy = "response_cache { enable: false }, and true in the ensemble"
                yield part.finding(CACHE_ON_GPU, "response_cache.enable", problem, remedy)


def _parts(model: RepositoryModel, by_name: Mapping[str, RepositoryModel]) -> list[RepositoryModel]:
    names = {step.model_name for step in model.config.ensemble_scheduling.step}
    return [by_name[name] for name in sorted(names & set(by_name))]


def _uncacheable(model: RepositoryModel) -> str:
    if model.config.model_transaction_policy.decoupled:
        return "is decoupled"
    return "has sequence_batching" if model.config.HasField("sequence_batching") else ""


def _thread_counts(model: RepositoryModel) -> Iterator[Finding]:
    for key in _THREAD_PARAMETERS.get(model.backend, ()):
        value = model.parameter(key)
        if value is not None and not _is_count(value):
            problem = f"{key} is {value!r}"
            remedy = f'parameters {{ key: "{key}" value {{ string_value: "1" }} }}'
            yield model.finding(THREAD_COUNT, f'parameters["{key}"]', problem, remedy)


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit()


def _threads_of_one(model: RepositoryModel, machine: ServingMachine) -> Iterator[Finding]:
    load = _load(model, machine)
    if load is None or load.total <= machine.cores:
        return
    key = _THREAD_PARAMETERS[model.backend][0]
    path = f'parameters["{key}"]' if key in model.config.parameters else "instance_group[0].count"
    problem = (
        f"{model.name} runs up to {load.total} threads on {_counted(machine.cores, 'core')}: "
        f"{_counted(load.instances, 'instance')} of {load.threads}"
    )
    instances = min(load.instances, machine.cores)
    remedy = (
        f"instead: instance_group {{ kind: KIND_CPU count: {instances} }} "
        f'parameters {{ key: "{key}" value {{ string_value: "{machine.cores // instances}" }} }}'
    )
    if model.backend == "openvino":
        problem = f"{model.name} runs {load.total} threads on {_counted(machine.cores, 'core')}"
        remedy = " ".join(
            f'parameters {{ key: "{name}" value {{ string_value: "{machine.cores}" }} }}'
            for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS")
        )
    yield model.finding(TOO_MANY_THREADS, path, problem, remedy)


def _load(model: RepositoryModel, machine: ServingMachine) -> _Load | None:
    """Return the threads that the model may use on the CPU; None if none or unknown."""
    instances = _cpu_instances(model, machine)
    if not instances:
        return None
    if model.backend == "onnxruntime":
        threads = _count(model, "intra_op_thread_count", machine)
        if model.parameter("execution_mode") == "1":
            # Both pools include the calling thread.
            threads += _count(model, "inter_op_thread_count", machine) - 1
        if (model.parameter("share_session_between_instances") or "").lower() in ("true", "1"):
            return _Load(instances, threads, instances + threads - 1)
        return _Load(instances, threads, instances * threads)
    if model.backend == "openvino":
        # The instances share one compiled model; a stream has at least one thread.
        streams = model.parameter("NUM_STREAMS") or ""
        threads = _count(model, "INFERENCE_NUM_THREADS", machine)
        threads = max(threads, int(streams) if _is_count(streams) else 0)
        return _Load(instances, threads, threads)
    if model.backend == "python" and model.parameter(THREADS) is not None:
        threads = _count(model, THREADS, machine)
    elif _shares_itself(model):
        threads = max(1, machine.cores // instances)
    else:
        return None
    return _Load(instances, threads, instances * threads)


def _shares_itself(model: RepositoryModel) -> bool:
    """True if the instances divide the cores themselves, like Lanner's without a number."""
    is_lanner = model.backend == "python" and model.parameter(INPUT_KIND) is not None
    has_engine = model.parameter(TOKEN_MODEL) is None
    return is_lanner and has_engine and model.parameter(THREADS) is None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _count(model: RepositoryModel, key: str, machine: ServingMachine) -> int:
    value = model.parameter(key) or ""
    # 0 means one for each core.
    return (int(value) if _is_count(value) else 0) or machine.cores


def _cpu_instances(model: RepositoryModel, machine: ServingMachine) -> int:
    if model.is_ensemble:
        return 0
    # The default of onnxruntime on the CPU is two instances (model_configuration.md).
    default = 2 if model.backend == "onnxruntime" else 1
    groups: list[Any] = list(model.config.instance_group)
    kinds = [_KIND_CPU] if machine.has_gpu else [_KIND_CPU, _KIND_AUTO]
    if not groups:
        return 0 if machine.has_gpu else default
    return sum(group.count or default for group in groups if group.kind in kinds)


def is_on_gpu(model: RepositoryModel, machine: ServingMachine) -> bool:
    """Return whether instances of the model run on a GPU."""
    kinds = {group.kind for group in model.config.instance_group} or {_KIND_AUTO}
    if model.backend == "tensorrt" or _KIND_GPU in kinds:
        return True
    # The tensors of these backends are in CPU memory in any case.
    return machine.has_gpu and _KIND_AUTO in kinds and model.backend not in ("python", "openvino")


def _optimization(model: RepositoryModel) -> Iterator[Finding]:
    if model.backend == "onnxruntime" and model.config.optimization.graph.level == 2:
        path = "optimization.graph.level"
        problem = f"the graph of {model.name} is not optimised"
        remedy = "delete optimization { graph { level: 2 } }"
        yield model.finding(NO_OPTIMIZATION, path, problem, remedy)


def _gpu(model: RepositoryModel, machine: ServingMachine) -> Iterator[Finding]:
    for index, group in enumerate(model.config.instance_group):
        if group.kind == _KIND_GPU and not machine.has_gpu:
            path = f"instance_group[{index}].kind"
            problem = f"{model.name} has instances on a GPU, but this machine has no GPU"
            yield model.finding(NO_GPU, path, problem, "kind: KIND_CPU, or serve it elsewhere")


def _bytes(model: RepositoryModel, machine: ServingMachine) -> Iterator[Finding]:
    """Lint rule for signed weights that Triton's own backends would run without VNNI."""
    is_graph = model.backend in ("onnxruntime", "openvino")
    if machine.has_fast_int8 or not is_graph or is_on_gpu(model, machine):
        return
    for version in model.served_versions:
        path = version / default_file(model)
        if path.is_file() and has_signed_weights(path):
            problem = f"{model.name} has signed weights, but this processor has no VNNI"
            # A graph for ONNX Runtime that is written on this machine gets unsigned weights.
            remedy = "make the repository again on this machine, with the backend "
            remedy += "python" if model.backend == "openvino" else "onnxruntime or python"
            yield SATURATING.at(path, 1, problem, remedy)


def _warm_up(model: RepositoryModel) -> Iterator[Finding]:
    # A model that calls another cannot warm up: a loading server does not answer.
    calls_another = model.parameter(TOKEN_MODEL) is not None
    if model.backend in _WARMED_BACKENDS and not model.config.model_warmup and not calls_another:
        problem = f"{model.name} is not warmed up"
        remedy = f'model_warmup {{ name: "first" batch_size: 1 {_warm_up_inputs(model)} }}'
        yield model.finding(NO_WARM_UP, "model_warmup", problem, remedy)


def _warm_up_inputs(model: RepositoryModel) -> str:
    rows = []
    for tensor in model.config.input:
        dims = ", ".join(str(_WARM_UP_LENGTH if size == -1 else size) for size in tensor.dims)
        kind = type(tensor).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
        value = f"data_type: {kind[tensor.data_type].name} dims: [ {dims} ] zero_data: true"
        rows.append(f'inputs {{ key: "{tensor.name}" value {{ {value} }} }}')
    return " ".join(rows) or "inputs { ... }"
