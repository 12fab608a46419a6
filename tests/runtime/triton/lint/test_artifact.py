import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import ONNX, PYTHON, changed, check, faults, write_model
from tests.support.word_artifact import MAX_TOKENS, VOCABULARY, write_manifest

from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.artifact.manifest import TokenizerRecord, Variant
from lanner.triton.contract.model_code import model_code
from lanner.triton.lint.serving_machine import ServingGpu, ServingMachine
from lanner.triton.repository.write import write_repository

CONFIG = "minilm/config.pbtxt"
BUCKETS = 'parameters { key: "lanner_buckets" value { string_value: "2,4" } }\n'
AGAIN = "make the repository again: lanner repository ARTIFACT --output REPOSITORY"
VARIANTS = ("model.fp32.onnx", "model.int8.onnx")


def write_artifact(
    version: Path,
    *,
    max_tokens: int | None = MAX_TOKENS,
    truncation: int | None = None,
    vocabulary: dict[str, int] = VOCABULARY,
    **changes: Any,
) -> None:
    """Make an artifact of a version; its model files are not models."""
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 (not a secret)
    if truncation is not None:
        tokenizer.enable_truncation(truncation)
    tokenizer.save(str(version / "tokenizer.json"))
    for name in VARIANTS:
        (version / name).write_bytes(b"no model")
    if (version / "model.py").exists():
        (version / "model.py").write_text(model_code("onnxruntime", takes_texts=False))
    record = TokenizerRecord("tokenizer.json", max_tokens, 0)
    write_manifest(version, tokenizer=record, **changes)


def write_pair(repository: Path) -> tuple[Path, Path]:
    """Return the versions of a model, and of the model that takes text."""
    model = write_model(repository, "minilm", ONNX) / "1"
    text = write_model(repository, "minilm_text", PYTHON) / "1"
    write_artifact(model)
    write_artifact(text)
    return model, text


def line_of(path: Path, text: str) -> int:
    rows = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, row in enumerate(rows, 1) if text in row)


def test_a_pair_as_lanner_makes_it(tmp_path: Path) -> None:
    write_pair(tmp_path)
    assert check(tmp_path) == []


def test_a_changed_file(tmp_path: Path) -> None:
    model, _ = write_pair(tmp_path)
    (model / VARIANTS[0]).write_bytes(b"no_model")
    problem = (
        f"{model / VARIANTS[0]} was changed after it was written (its SHA-256 is not the "
        "manifest's): copy it again from its source, or export again"
    )
    assert faults(tmp_path) == [("minilm/1/manifest.json", 1, "error", "artifact-files", problem)]
    assert check(tmp_path)[0].remedy == AGAIN


def test_a_changed_manifest(tmp_path: Path) -> None:
    _, text = write_pair(tmp_path)
    with (text / "manifest.json").open("ab") as file:
        file.write(b" ")
    path = text / "manifest.json"
    problem = f"{path} was changed or damaged after it was written: export the checkpoint again"
    assert faults(tmp_path) == [
        ("minilm_text/1/manifest.json", 1, "error", "artifact-files", problem)
    ]


def test_versions_that_are_not_served_are_verified_too(tmp_path: Path) -> None:
    model = write_model(tmp_path, "minilm", ONNX, versions=("1", "2"))
    write_artifact(model / "1")
    (model / "1" / "tokenizer.json").unlink()
    assert [(str(found.file), found.rule) for found in check(tmp_path)] == [
        (str(model / "1" / "manifest.json"), "artifact-files")
    ]


def test_the_manifest_of_something_else(tmp_path: Path) -> None:
    model = write_model(tmp_path, "minilm", ONNX)
    (model / "1" / "manifest.json").write_text('{"name": "a web page"}', encoding="utf-8")
    assert check(tmp_path) == []


@pytest.mark.parametrize(
    "code",
    [
        model_code("onnxruntime", takes_texts=True),
        model_code("onnxruntime", takes_texts=False) + "import os\n",
        "",
    ],
    ids=["of a text model", "with more", "empty"],
)
def test_code_that_lanner_does_not_write(tmp_path: Path, code: str) -> None:
    _, text = write_pair(tmp_path)
    (text / "model.py").write_text(code)
    problem = "model.py is not the code that 'lanner repository' writes"
    assert faults(tmp_path) == [("minilm_text/1/model.py", 1, "error", "model-code", problem)]


@pytest.mark.parametrize("name", ["numpy.py", "json.so", "lanner.cpython-311-x86_64.so", "re.pyc"])
def test_a_file_that_python_imports_from_a_version(tmp_path: Path, name: str) -> None:
    _, text = write_pair(tmp_path)
    (text / name).touch()
    problem = f"{name} is not part of the artifact, and Python can import it"
    assert faults(tmp_path) == [(f"minilm_text/1/{name}", 1, "error", "foreign-file", problem)]


def test_a_package_in_a_version(tmp_path: Path) -> None:
    _, text = write_pair(tmp_path)
    (text / "tokenizers").mkdir()
    (text / "notes.md").touch()  # no file imports it
    assert [(found.rule, found.file.name) for found in check(tmp_path)] == [
        ("foreign-file", "tokenizers")
    ]


def test_limits_that_disagree(tmp_path: Path) -> None:
    _, text = write_pair(tmp_path)
    write_artifact(text, max_tokens=3)
    line = line_of(text / "manifest.json", '"max_tokens": 3')
    problem = "minilm_text takes 3 tokens, and minilm 4"
    assert faults(tmp_path) == [
        ("minilm_text/1/manifest.json", line, "error", "tokenizer", problem)
    ]
    assert check(tmp_path)[0].remedy == AGAIN


def test_tokenizers_that_disagree(tmp_path: Path) -> None:
    _, text = write_pair(tmp_path)
    write_artifact(text, vocabulary={**VOCABULARY, "g": 8})
    line = line_of(text / "manifest.json", '"tokenizer.json": {')
    problem = "the tokenizer of minilm_text is not that of minilm"
    assert faults(tmp_path) == [
        ("minilm_text/1/manifest.json", line, "error", "tokenizer", problem)
    ]


def test_only_the_served_versions_of_a_pair_must_agree(tmp_path: Path) -> None:
    model = write_model(tmp_path, "minilm", ONNX, versions=("1", "2"))
    text = write_model(tmp_path, "minilm_text", PYTHON)
    write_artifact(model / "1", max_tokens=3)
    write_artifact(model / "2")
    write_artifact(text / "1")
    assert check(tmp_path) == []


@pytest.mark.parametrize("max_tokens", [8, None])
def test_a_tokenizer_that_cuts_elsewhere(tmp_path: Path, max_tokens: int | None) -> None:
    version = write_model(tmp_path, "minilm", PYTHON) / "1"
    write_artifact(version, truncation=6, max_tokens=max_tokens)
    line = line_of(version / "tokenizer.json", '"max_length": 6')
    problem = f"it cuts texts to 6 tokens, but max_tokens of manifest.json is {max_tokens}"
    assert faults(tmp_path) == [("minilm/1/tokenizer.json", line, "error", "tokenizer", problem)]


def test_a_tokenizer_that_cuts_where_the_manifest_says(tmp_path: Path) -> None:
    write_artifact(write_model(tmp_path, "minilm", ONNX) / "1", truncation=MAX_TOKENS)
    assert check(tmp_path) == []


@pytest.mark.parametrize("stated", ["2,3", "2"])
def test_buckets_that_do_not_hold_the_longest_text(tmp_path: Path, stated: str) -> None:
    config = changed(ONNX, '"2,4"', f'"{stated}"')
    write_artifact(write_model(tmp_path, "minilm", config) / "1")
    problem = f"lanner_buckets ends at {stated[-1]}, but texts have up to 4 tokens"
    assert faults(tmp_path) == [(CONFIG, 18, "error", "buckets", problem)]
    assert check(tmp_path)[0].remedy == BUCKETS.replace("2,4", f"{stated},4").strip()


def test_buckets_of_a_model_whose_partner_has_the_tokenizer(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, '"2,4"', '"2"'))
    write_artifact(write_model(tmp_path, "minilm_text", PYTHON) / "1")
    assert [(found.line, found.rule) for found in check(tmp_path)] == [(18, "buckets")]


@pytest.mark.parametrize("stated", ["4,2", "2,2", "a", "", "0,4", "-2,4", "2,,4"])
def test_buckets_that_are_no_lengths(tmp_path: Path, stated: str) -> None:
    config = changed(ONNX, '"2,4"', f'"{stated}"')
    write_model(tmp_path, "minilm", config)
    problem = f"lanner_buckets is {stated!r}"
    assert (CONFIG, 18, "error", "buckets", problem) in faults(tmp_path)


def test_buckets_without_a_limit_of_tokens(tmp_path: Path) -> None:
    write_artifact(write_model(tmp_path, "minilm", ONNX) / "1", max_tokens=None)
    assert check(tmp_path) == []


TENSORRT = changed(ONNX, '"onnxruntime"', '"tensorrt"')
H100 = ServingGpu("NVIDIA H100 80GB HBM3", "9.0")
L4 = ServingGpu("NVIDIA L4", "8.9")
FOR_H100 = "model.nvidia-h100-80gb-hbm3-sm90-fp16-10.13.3.9.plan"
FOR_L4 = "model.nvidia-l4-sm89-fp16-10.13.3.9.plan"


def machine_of(*gpus: ServingGpu, tensorrt: str | None = "10.13.3.9") -> ServingMachine:
    return ServingMachine(cores=2, has_gpu=True, gpus=gpus, tensorrt=tensorrt)


def test_an_engine_of_this_gpu(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", f'default_model_filename: "{FOR_H100}"\n{TENSORRT}', FOR_H100)
    for gpus in [(H100,), (L4, H100)]:
        assert check(tmp_path, machine_of(*gpus)) == []
    # The package of 10.13.3.9 adds a suffix to the version that only the package has.
    assert check(tmp_path, machine_of(H100, tensorrt="10.13.3.9.post1")) == []
    assert check(tmp_path, machine_of(H100, tensorrt=None)) == []


@pytest.mark.parametrize(
    ("file", "tensorrt", "reason"),
    [
        (FOR_L4, None, "it was not built for NVIDIA H100 80GB HBM3 (9.0)"),
        (
            FOR_H100,
            "11.4.0.106",
            "it was built with TensorRT 10.13.3.9, but this machine has 11.4.0.106",
        ),
        (
            FOR_H100,
            "10.13.3.10",
            "it was built with TensorRT 10.13.3.9, but this machine has 10.13.3.10",
        ),
    ],
)
def test_an_engine_of_something_else(
    tmp_path: Path, file: str, tensorrt: str | None, reason: str
) -> None:
    config = f'# made elsewhere\ndefault_model_filename: "{file}"\n{TENSORRT}'
    write_model(tmp_path, "minilm", config, file)
    machine = machine_of(H100, tensorrt=tensorrt)
    problem = f"{file}: {reason}"
    assert faults(tmp_path, machine) == [(CONFIG, 2, "error", "tensorrt-engine", problem)]
    assert check(tmp_path, machine)[0].remedy == (
        "build the engine here: lanner build-engine ARTIFACT"
    )


def test_of_an_engine_of_another_name_nothing_is_known(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", TENSORRT, "model.plan")
    assert check(tmp_path, machine_of(H100)) == []


@pytest.mark.parametrize("machine", [ServingMachine(cores=2), ServingMachine(2, has_gpu=True)])
def test_without_a_gpu_to_ask_nothing_is_said_of_engines(
    tmp_path: Path, machine: ServingMachine
) -> None:
    write_model(tmp_path, "minilm", f'default_model_filename: "{FOR_L4}"\n{TENSORRT}', FOR_L4)
    assert check(tmp_path, machine) == []


def test_among_engines_by_compute_capability_one_must_fit(tmp_path: Path) -> None:
    names = "\n".join(
        f'cc_model_filenames {{ key: "{key}" value: "{file}" }}'
        for key, file in (("9.0", FOR_H100), ("8.9", FOR_L4))
    )
    write_model(tmp_path, "minilm", TENSORRT + names, FOR_H100, FOR_L4)
    for gpu in (H100, L4):
        assert check(tmp_path, machine_of(gpu)) == []
    (found,) = check(tmp_path, machine_of(ServingGpu("Tesla T4", "7.5")))
    reason = "it was not built for Tesla T4 (7.5)"
    assert found.problem == f"{FOR_H100}: {reason}; {FOR_L4}: {reason}"


def engine_variants(*names: str, **changes: Any) -> list[Variant]:
    engines = {"plan": "tensorrt", "onnx": "onnxruntime"}
    made = EngineBuild("NVIDIA L4", "8.9", "10.13.3.9", [Profile((1, 4), (1, 4), (8, 4))])
    builds: dict[str, EngineBuild | None] = {"plan": replace(made, **changes), "onnx": None}
    kinds = [(name, name.rpartition(".")[2]) for name in names]
    return [
        Variant(name, "fp16", name, engines[kind], 23, {}, build=builds[kind])
        for name, kind in kinds
    ]


def test_a_python_model_with_nothing_but_engines(tmp_path: Path) -> None:
    version = write_model(tmp_path, "minilm", PYTHON) / "1"
    (version / FOR_L4).write_bytes(b"no engine")
    write_artifact(version, variants=engine_variants(FOR_L4))
    (found,) = check(tmp_path, machine_of(H100))
    assert found.problem == (
        f"{FOR_L4}: it was built for NVIDIA L4 (compute capability 8.9), but this machine has "
        "NVIDIA H100 80GB HBM3 (9.0)"
    )
    # The manifest's version counts more than the name.
    compatible = {"hardware_compatibility": "ampere_plus", "is_version_compatible": True}
    write_artifact(version, variants=engine_variants(FOR_L4, **compatible))
    assert check(tmp_path, machine_of(H100, tensorrt="10.14.1.48")) == []
    # With another variant it need not be loaded.
    write_artifact(version, variants=engine_variants(FOR_L4, VARIANTS[0]))
    assert check(tmp_path, machine_of(H100)) == []


def test_the_truncation_of_a_damaged_tokenizer_is_not_looked_at(tmp_path: Path) -> None:
    version = write_model(tmp_path, "minilm", PYTHON) / "1"
    write_artifact(version, truncation=MAX_TOKENS)
    content = json.loads((version / "tokenizer.json").read_text(encoding="utf-8"))
    (version / "tokenizer.json").write_text(json.dumps([content]), encoding="utf-8")
    assert [found.rule for found in check(tmp_path)] == ["artifact-files"]


@pytest.mark.parametrize("name", ["words", "words_text"])
def test_a_configuration_that_carries_the_files_of_something_else(
    word_artifact: Path, tmp_path: Path, name: str
) -> None:
    """Two writers at once could mix the files; a client would tokenize for another model."""
    repository, other = tmp_path / "repository", tmp_path / "other"
    write_repository([word_artifact], repository, variant="fp32")
    assert check(repository) == []
    tokenizer = Path(word_artifact / "tokenizer.json")
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    write_manifest(word_artifact)
    write_repository([word_artifact], other, variant="fp32")
    config = (other / name / "config.pbtxt").read_text(encoding="utf-8")
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    files = ["manifest.json"] if name == "words_text" else ["manifest.json", "tokenizer.json"]
    assert faults(repository) == [
        (
            f"{name}/config.pbtxt",
            line_of(repository / name / "config.pbtxt", f"lanner_file.1.{file}") - 1,
            "error",
            "carried-files",
            f"config.pbtxt does not carry the {file} of version 1",
        )
        for file in files
    ]
    config = config.replace("lanner_file.1.manifest.json", "lanner_file.9.manifest.json")
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    assert "config.pbtxt does not carry the manifest.json of version 1" in [
        found.problem for found in check(repository)
    ]


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("nativ", "there is no engine 'nativ'"),
        ("tensorrt", "the engine tensorrt does not run the variant fp32 on cpu"),
    ],
)
def test_an_engine_that_cannot_run(
    word_artifact: Path, tmp_path: Path, named: str, problem: str
) -> None:
    repository = tmp_path / "repository"
    write_repository([word_artifact], repository, variant="fp32", with_text=False)
    path = repository / "words" / "config.pbtxt"
    text = path.read_text(encoding="utf-8")
    path.write_text(changed(text, 'string_value: "auto"', f'string_value: "{named}"'))
    line = line_of(path, 'key: "engine"') - 1
    assert faults(repository) == [("words/config.pbtxt", line, "error", "named-engine", problem)]
    remedy = check(repository)[0].remedy
    assert remedy.startswith(
        'parameters { key: "engine" value { string_value: "auto" } }, or onnxruntime, openvino, '
        "native, native-static, native-bf16, "
    )
    assert remedy.endswith(", tensorrt")
