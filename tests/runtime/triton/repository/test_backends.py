import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")
pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")

from tests.support.gpu.artifact import PROFILES, add_engines, build
from tests.support.manifests import FP32, manifest

from lanner.artifact.engine_build import Profile
from lanner.artifact.manifest import Manifest, Variant
from lanner.errors import InputError, LannerError, UnsupportedError
from lanner.triton.contract.model_config import parse_config, read_config
from lanner.triton.lint.linter import lint
from lanner.triton.repository.backends import find_backend
from lanner.triton.repository.config_text import text_config, token_config
from lanner.triton.repository.serving import BACKENDS, Serving
from lanner.triton.repository.tensorrt import engine_lengths, graph_specs, most_texts
from lanner.triton.repository.write import write_repository

#: Profiles of one length each, of a range each, and one for all lengths.
FIXED = [Profile((1, n), (8, n), (32, n)) for n in (16, 64, 128)]
RANGES = [Profile((1, 1), (8, 32), (32, 32)), Profile((1, 33), (8, 64), (16, 64))]
WIDE = [Profile((1, 1), (8, 64), (64, 128))]
BY_BATCH = [Profile((1, 128), (1, 128), (1, 128)), Profile((2, 128), (8, 128), (16, 128))]
HOLE = [Profile((1, 128), (1, 128), (1, 128)), Profile((4, 128), (8, 128), (16, 128))]


def fitted(serving: Serving, made: Manifest, variant: Variant) -> Serving:
    return find_backend(serving.backend).fitted(serving, made, variant)


def test_each_backend_has_the_name_that_finds_it() -> None:
    assert [find_backend(name).name for name in BACKENDS] == list(BACKENDS)


def plan(profiles: list[Profile]) -> Variant:
    made = build(profiles)
    return Variant("tensorrt-fp16", "fp16", "model.plan", "tensorrt", 23, {}, build=made)


@pytest.mark.parametrize(
    ("profiles", "lengths"),
    [
        (FIXED, (16, 64, 128)),
        (RANGES, (16, 24, 32, 48, 64)),
        (WIDE, (16, 24, 32, 48, 64, 96, 128)),
    ],
    ids=["fixed", "ranges", "wide"],
)
def test_the_lengths_of_an_engine(profiles: list[Profile], lengths: tuple[int, ...]) -> None:
    assert engine_lengths(build(profiles)) == lengths
    assert all(most_texts(build(profiles), length) for length in lengths)


@pytest.mark.parametrize(
    ("profiles", "length", "texts"),
    [(FIXED, 64, 32), (FIXED, 65, 0), (RANGES, 40, 16), (BY_BATCH, 128, 16), (HOLE, 128, 1)],
)
def test_the_most_texts_of_a_length(profiles: list[Profile], length: int, texts: int) -> None:
    assert most_texts(build(profiles), length) == texts


def test_serving_is_fitted_to_the_engine() -> None:
    made = manifest(max_tokens=64)
    serving = fitted(Serving(backend="tensorrt", max_queue_delay_us=100), made, plan(RANGES))
    assert serving.buckets == (16, 24, 32, 48, 64)
    assert serving.max_batch_size == 16
    assert serving.preferred_batch_sizes == (16,)
    few = fitted(Serving(backend="tensorrt", max_batch_size=8), made, plan(RANGES))
    assert few.max_batch_size == 8
    own = fitted(Serving(backend="tensorrt", buckets=(32, 64)), made, plan(RANGES))
    assert own.buckets == (32, 64)
    # Other backends pad by themselves.
    python = Serving(device="cuda")
    assert fitted(python, made, plan(RANGES)) == python


@pytest.mark.parametrize(
    ("profiles", "serving", "message"),
    [
        (WIDE, {}, "the engine tensorrt-fp16 takes up to 128 tokens, but the model 256: build it"),
        (
            [Profile((1, 16), (1, 16), (8, 16)), Profile((2, 256), (2, 256), (8, 256))],
            {},
            "the engine tensorrt-fp16 takes no single text of 256 tokens: build it with",
        ),
        (
            [Profile((1, 16), (1, 16), (8, 16)), Profile((1, 256), (2, 256), (8, 256))],
            {"buckets": (100, 256)},
            "the engine tensorrt-fp16 takes no single text of 100 tokens: build it with",
        ),
    ],
    ids=["length", "batch", "bucket"],
)
def test_an_engine_that_does_not_take_every_text(
    profiles: list[Profile], serving: dict[str, Any], message: str
) -> None:
    asked = Serving(backend="tensorrt", **serving)
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        fitted(asked, manifest(max_tokens=256), plan(profiles))


def test_a_batch_that_an_engine_does_not_take_is_not_made_smaller_silently() -> None:
    message = (
        r"^the engine .+ takes up to 16 texts at once, but --max-batch-size is 17: omit that, "
        r"or build the engine for more \('lanner build-engine'\)$"
    )
    asked = Serving(backend="tensorrt", max_batch_size=17)
    with pytest.raises(InputError, match=message):
        fitted(asked, manifest(max_tokens=4), plan(RANGES))


def test_graphs_are_of_few_texts_of_each_bucket() -> None:
    serving = Serving(backend="tensorrt", max_batch_size=32, preferred_batch_sizes=(24,))
    specs = graph_specs(build(WIDE), ["input_ids"], (16, 512), serving)
    assert [(spec["batch_size"], spec["input"]) for spec in specs] == [
        *((size, {"input_ids": {"dim": [16]}}) for size in (1, 2, 4, 8, 16, 24, 32)),
        *((size, {"input_ids": {"dim": [512]}}) for size in (1, 2, 4, 8)),
    ]
    assert not any("graph_lower_bound" in spec for spec in specs)


def test_graphs_of_profiles_of_one_length_are_of_that_length() -> None:
    """Triton tries every spec with every profile, and logs an error if the two do not fit."""
    serving = Serving(backend="tensorrt", max_batch_size=32)
    sizes = [1, 2, 4, 8, 16, 32]
    assert graph_specs(build(FIXED), ["input_ids"], (16, 64, 128), serving) == [
        {"batch_size": size} for size in sizes
    ]
    long = graph_specs(build([Profile((1, 512), (8, 512), (32, 512))]), ["ids"], (512,), serving)
    assert long == [{"batch_size": size} for size in sizes[:4]]


def configured(variant: Variant, serving: Serving, *, text: bool = False) -> Any:
    write = text_config if text else token_config
    name = "m_text" if text else "m"
    made = manifest(max_tokens=4)
    return parse_config(
        write(name, made, variant, fitted(serving, made, variant), {}), Path("config.pbtxt")
    )


def test_a_model_of_an_engine() -> None:
    config = configured(plan(PROFILES), Serving(backend="tensorrt", max_batch_size=2))
    expected = """
name: "m" backend: "tensorrt" max_batch_size: 2 default_model_filename: "model.plan"
version_policy { latest { num_versions: 2 } }
input { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }
input { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }
output { name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 4 ] }
dynamic_batching { }
instance_group { count: 1 kind: KIND_GPU profile: [ "0", "1" ] }
model_warmup { name: "2 tokens" batch_size: 1
  inputs { key: "input_ids" value { data_type: TYPE_INT64 dims: [ 2 ] zero_data: true } }
  inputs { key: "attention_mask"
           value { data_type: TYPE_INT64 dims: [ 2 ] input_data_file: "ones.2" } } }
model_warmup { name: "4 tokens" batch_size: 1
  inputs { key: "input_ids" value { data_type: TYPE_INT64 dims: [ 4 ] zero_data: true } }
  inputs { key: "attention_mask"
           value { data_type: TYPE_INT64 dims: [ 4 ] input_data_file: "ones.4" } } }
optimization { cuda { graphs: true graph_spec { batch_size: 1 } graph_spec { batch_size: 2 } } }
parameters { key: "lanner_input" value { string_value: "tokens" } }
parameters { key: "lanner_variant" value { string_value: "tensorrt-fp16" } }
parameters { key: "lanner_buckets" value { string_value: "2,4" } }
parameters { key: "execution_context_allocation_strategy"
             value { string_value: "ON_PROFILE_CHANGE" } }
"""
    assert config == parse_config(expected, Path("expected"))


def test_a_text_model_that_calls_an_engine_needs_no_gpu() -> None:
    config = configured(plan(PROFILES), Serving(backend="tensorrt"), text=True)
    assert str(config.instance_group[0]) == "count: 1\nkind: KIND_CPU\n"
    assert config.parameters["token_model"].string_value == "m"
    assert not config.optimization.cuda.graphs


def test_onnxruntime_on_cuda() -> None:
    config = configured(FP32, Serving(backend="onnxruntime", device="cuda"))
    assert str(config.instance_group[0]) == "count: 1\nkind: KIND_GPU\n"
    # All of TensorRT's optimizations, which differ from those of a CPU; fp32 must not become TF32.
    expected = """optimization { execution_accelerators { gpu_execution_accelerator {
        name: "cuda" parameters { key: "use_tf32" value: "0" } } } }"""
    assert config.optimization == parse_config(expected, Path("expected")).optimization
    assert config.parameters["intra_op_thread_count"].string_value == "1"


def test_onnxruntime_through_tensorrt() -> None:
    serving = Serving(backend="onnxruntime", device="cuda", engine_cache="/cache", max_batch_size=8)
    half = replace(FP32, name="fp16", precision="fp16")
    accelerator, cuda = configured(
        half, serving
    ).optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, cuda.name) == ("tensorrt", "cuda")
    assert dict(accelerator.parameters) == {
        "precision_mode": "FP16",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/cache",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/cache",
        "trt_profile_min_shapes": "input_ids:1x4,attention_mask:1x4",
        "trt_profile_opt_shapes": "input_ids:2x4,attention_mask:2x4",
        "trt_profile_max_shapes": "input_ids:8x4,attention_mask:8x4",
    }
    plain, _ = configured(
        FP32, serving
    ).optimization.execution_accelerators.gpu_execution_accelerator
    assert "precision_mode" not in plain.parameters
    with pytest.raises(UnsupportedError, match=r"takes fp32 or fp16, not bf16: name another --va"):
        configured(replace(FP32, precision="bf16"), serving)


def test_python_on_cuda() -> None:
    for text in (False, True):
        config = configured(FP32, Serving(device="cuda"), text=text)
        assert config.parameters["device"].string_value == "cuda"
        # Its code takes the first GPU for every instance, so it has one instance there.
        assert str(config.instance_group[0]) == "count: 1\ngpus: 0\nkind: KIND_GPU\n"


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        ({"device": "tpu"}, "the backend python does not run on 'tpu': use 'cpu'"),
        (
            {"engine_cache": "/cache", "backend": "onnxruntime"},
            "an engine cache is for the backend onnxruntime on the device cuda: choose both",
        ),
    ],
)
def test_what_cannot_be_together(serving: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Serving(**serving)


@pytest.mark.parametrize(
    ("serving", "asked", "file"),
    [
        ({"backend": "tensorrt"}, "auto", build().file_name("fp16")),
        ({"backend": "tensorrt"}, "int8", build().file_name("int8")),
        ({"backend": "tensorrt"}, "tensorrt-int8", build().file_name("int8")),
        ({"backend": "onnxruntime", "device": "cuda"}, "auto", "model.fp16.onnx"),
        ({"backend": "onnxruntime", "device": "cuda"}, "fp32", "model.fp32.onnx"),
    ],
)
def test_a_repository_for_a_gpu(
    word_artifact: Path, tmp_path: Path, serving: dict[str, Any], asked: str, file: str
) -> None:
    artifact = add_engines(word_artifact, int8=build(), fp16=build())
    write_repository([word_artifact], tmp_path / "r", serving=Serving(**serving), variant=asked)
    model = tmp_path / "r" / "words"
    name = read_config(model / "config.pbtxt").default_model_filename
    assert name == f"model{Path(file).suffix}"
    # The file is unchanged: fusions that are fast on a CPU are not made.
    assert (model / "1" / name).read_bytes() == artifact.file(file).read_bytes()
    assert {found.rule for found in lint(tmp_path / "r")} <= {"no-gpu"}


@pytest.mark.parametrize(
    ("serving", "asked", "message"),
    [
        ({}, "tensorrt-fp16", "for TensorRT, which needs a GPU: add --device cuda, or name anoth"),
        (
            {"backend": "onnxruntime", "device": "cuda"},
            "int8",
            "is for CPUs: name another with --variant, or omit --device",
        ),
        (
            {"backend": "onnxruntime", "device": "cuda"},
            "tensorrt-fp16",
            "which the backend onnxruntime does not run: name another with --variant",
        ),
    ],
)
def test_what_a_backend_does_not_run(
    word_artifact: Path, tmp_path: Path, serving: dict[str, Any], asked: str, message: str
) -> None:
    add_engines(word_artifact, fp16=build())
    with pytest.raises(LannerError, match=re.escape(message)):
        write_repository([word_artifact], tmp_path / "r", serving=Serving(**serving), variant=asked)
    assert not (tmp_path / "r").exists()
