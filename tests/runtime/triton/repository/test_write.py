import json
import re
import resource
import shutil
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.checkpoints import SENTENCES
from tests.support.triton_repository import check
from tests.support.word_artifact import DIMENSION, write_manifest

from lanner.artifact import manifest as manifest_module
from lanner.artifact.artifact import Artifact
from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.artifact.manifest import Manifest, RangesRecord, Variant
from lanner.engines.onnx.unsigned_weights import has_signed_weights
from lanner.engines.onnxruntime import open_session
from lanner.errors import (
    ArtifactError,
    CorruptArtifactError,
    InputError,
    RepositoryError,
    UnsupportedError,
    VariantError,
)
from lanner.loading.load import load
from lanner.machine.machine import this_machine
from lanner.triton.contract.model_config import read_config
from lanner.triton.contract.served_model import ServedModel
from lanner.triton.lint.serving_machine import ServingMachine
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.write import WrittenModel, write_repository
from lanner.vectors.ranges import EmbeddingRanges

TEXTS = ["a b", "c", "", "zzz a"]
#: The backends that run on a CPU.
BACKENDS = ("python", "onnxruntime")


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return as many cores as the linter's machine has."""
    monkeypatch.setattr("lanner.triton.repository.onnxruntime.available_cores", lambda: 2)


def files(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in files(directory)}


def write(artifact: Path, repository: Path, **options: Any) -> list[WrittenModel]:
    options.setdefault("variant", "fp32")
    return write_repository([artifact], repository, **options)


def served(repository: Path, name: str, version: str) -> ServedModel:
    config = read_config(repository / name / "config.pbtxt")
    values = {key: value.string_value for key, value in config.parameters.items()}
    return ServedModel(name, version, values, config.max_batch_size)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory for a repository, and check that nothing else is left behind."""
    yield tmp_path / "repository"
    assert list(tmp_path.rglob(".*")) == []


ARTIFACT = ["manifest.json", "quality.json", "tokenizer.json"]


def test_the_layout(word_artifact: Path, repository: Path) -> None:
    assert write(word_artifact, repository) == [
        WrittenModel("words", 1, "fp32"),
        WrittenModel("words_text", 1, "fp32"),
    ]
    version = [*ARTIFACT, "model.fp32.onnx", "model.py"]
    assert files(repository) == sorted(
        [
            "words/config.pbtxt",
            "words/warmup/ones.4",
            *(f"words/1/{name}" for name in version),
            "words_text/config.pbtxt",
            "words_text/warmup/text",
            *(f"words_text/1/{name}" for name in version),
        ]
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layout_of_a_text_model_that_calls_its_token_model(
    word_artifact: Path, repository: Path, backend: str
) -> None:
    write(word_artifact, repository, serving=Serving(backend=backend, shares_engine=True))
    own = ["model.fp32.onnx", "model.py"] if backend == "python" else ["model.onnx"]
    assert files(repository / "words" / "1") == sorted([*ARTIFACT, *own])
    # The token model has the graph, and warms up.
    assert files(repository / "words_text") == sorted(
        ["config.pbtxt", *(f"1/{name}" for name in [*ARTIFACT, "model.py"])]
    )


def test_the_code_of_a_model(word_artifact: Path, repository: Path) -> None:
    write(word_artifact, repository)
    for name, kind in (("words", "TokenModel"), ("words_text", "TextModel")):
        code = (repository / name / "1" / "model.py").read_text(encoding="utf-8")
        compile(code, name, "exec")
        assert f"\nfrom lanner.triton.python_backend import {kind} as TritonPythonModel\n" in code
        assert "lanner[onnxruntime]" in code
    write(word_artifact, repository, names=["other"], serving=Serving(backend="onnxruntime"))
    code = (repository / "other_text" / "1" / "model.py").read_text(encoding="utf-8")
    assert "lanner[triton]" in code


def test_nothing_of_an_artifact_stands_in_the_code(word_artifact: Path, repository: Path) -> None:
    path = word_artifact / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["sha256"]
    for variant in content["variants"]:
        variant["engine"] = 'onnxruntime]."""\nimport os; os.system("touch ran")\n"""['
    signed = {**content, "sha256": manifest_module._digest(content)}
    path.write_bytes(manifest_module._canonical(signed))
    with pytest.raises(ArtifactError, match=r"'engine' must be one of onnxruntime, tensorrt$"):
        write(word_artifact, repository)
    assert not repository.exists()


def test_what_runs_before_a_model_is_ready(word_artifact: Path, repository: Path) -> None:
    write(word_artifact, repository)
    ones = (repository / "words" / "warmup" / "ones.4").read_bytes()
    assert np.frombuffer(ones, "<i8").tolist() == [1, 1, 1, 1]
    text = (repository / "words_text" / "warmup" / "text").read_bytes()
    (length,) = struct.unpack("<I", text[:4])
    assert text[4:] == b"A plane is taking off."
    assert length == 22


def test_without_a_warm_up_there_are_no_files_for_it(word_artifact: Path, repository: Path) -> None:
    write(word_artifact, repository, serving=Serving(warmup=False))
    assert not any("warmup" in name for name in files(repository))


def test_text_models_may_be_left_out(word_artifact: Path, repository: Path) -> None:
    assert write(word_artifact, repository, with_text=False) == [WrittenModel("words", 1, "fp32")]
    assert [path.name for path in repository.iterdir()] == ["words"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_version_is_an_artifact_that_runs(
    word_artifact: Path, repository: Path, backend: str
) -> None:
    write(word_artifact, repository, serving=Serving(backend=backend))
    vectors = [[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0.5, 0, 0, 0.25]]
    for name in ("words", "words_text") if backend == "python" else ("words",):
        Artifact.open(repository / name / "1").verify()
        model = load(repository / name / "1", threads=1)
        assert model.variant.name == "fp32"
        assert model.encode(TEXTS).tolist() == vectors


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_vectors_are_those_of_the_artifact(
    tiny_artifact: Artifact, repository: Path, backend: str, variant: str
) -> None:
    serving = Serving(backend=backend)
    write(tiny_artifact.directory, repository, serving=serving, variant=variant)
    expected = load(
        tiny_artifact.directory, variant=variant, engine="onnxruntime", threads=1
    ).encode(SENTENCES)
    found = load(
        repository / "tiny" / "1", variant=variant, engine="onnxruntime", threads=1
    ).encode(SENTENCES)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("head", ["tiny", "scorer", "classifier", "tagger"])
def test_the_linter_has_nothing_to_say(
    request: pytest.FixtureRequest, repository: Path, backend: str, head: str
) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    write(artifact.directory, repository, serving=Serving(backend=backend))
    assert check(repository) == []
    # A second version changes none of that.
    write(artifact.directory, repository, serving=Serving(backend=backend))
    assert check(repository) == []


def test_the_linter_has_nothing_to_say_of_what_was_asked_for(
    word_artifact: Path, repository: Path
) -> None:
    for backend in BACKENDS:
        serving = Serving(
            backend=backend,
            cores=2,
            instances=2 if backend == "python" else 1,
            max_queue_delay_us=500,
            priority_levels=3,
            buckets=(2, 4),
            response_cache=True,
            shares_engine=True,
        )
        write(word_artifact, repository / backend, serving=serving)
        assert check(repository / backend) == []


def test_a_new_version_beside_the_old(word_artifact: Path, repository: Path) -> None:
    write(word_artifact, repository)
    old = contents(repository / "words" / "1")
    write_manifest(word_artifact, created="later")
    assert write(word_artifact, repository, variant="int8") == [
        WrittenModel("words", 2, "int8"),
        WrittenModel("words_text", 2, "int8"),
    ]
    assert contents(repository / "words" / "1") == old
    assert "model.int8.onnx" in files(repository / "words" / "2")
    for name in ("words", "words_text"):
        for version, created in (("1", "2026-01-01T00:00:00Z"), ("2", "later")):
            with served(repository, name, version).artifact() as artifact:
                assert artifact.manifest.created == created
    assert served(repository, "words", "2").parameters["lanner_variant"] == "int8"


def test_what_a_client_gets_is_the_tokenizer_of_each_version(
    word_artifact: Path, repository: Path
) -> None:
    write(word_artifact, repository)
    path = word_artifact / "tokenizer.json"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    write_manifest(word_artifact)
    write(word_artifact, repository)
    for version, tokenizer in (("1", before), ("2", before + b"\n")):
        with served(repository, "words", version).artifact() as artifact:
            assert artifact.file("tokenizer.json").read_bytes() == tokenizer
        with served(repository, "words_text", version).artifact() as artifact:
            assert not (artifact.directory / "tokenizer.json").exists()


def test_versions_of_both_models_go_together(word_artifact: Path, repository: Path) -> None:
    write(word_artifact, repository, with_text=False)
    write(word_artifact, repository, with_text=False)
    assert [model.version for model in write(word_artifact, repository)] == [3, 3]
    assert sorted(path.name for path in (repository / "words_text").iterdir()) == [
        "3",
        "config.pbtxt",
        "warmup",
    ]
    assert check(repository) == []


def test_one_configuration_loads_versions_of_other_variants(
    tiny_artifact: Artifact, repository: Path
) -> None:
    serving = Serving(backend="onnxruntime")
    for variant in ("fp32", "int8"):
        assert check(repository) == [] if repository.exists() else True
        (token, text) = write(tiny_artifact.directory, repository, variant=variant, serving=serving)
        assert text.notes == ()
        assert any("a cosine of at least 0.991" in note for note in token.notes) == (
            variant == "int8"
        )
    assert {one.rule for one in check(repository)} == {"int8-by-version"}
    config = read_config(repository / "tiny" / "config.pbtxt")
    assert config.version_policy.latest.num_versions == 2
    assert config.default_model_filename == "model.onnx"
    for version, variant in (("1", "fp32"), ("2", "int8")):
        directory = repository / "tiny" / version
        assert files(directory) == sorted([*ARTIFACT, "embedding_ranges.npy", "model.onnx"])
        artifact = Artifact.open(directory)
        artifact.verify()  # the manifest's record agrees with the file
        assert [(one.name, one.file) for one in artifact.manifest.variants] == [
            (variant, "model.onnx")
        ]
        assert served(repository, "tiny", version).variant(artifact.manifest).name == variant
        expected = load(
            tiny_artifact.directory, variant=variant, engine="onnxruntime", threads=1
        ).encode(SENTENCES)
        found = load(directory, variant=variant, engine="onnxruntime", threads=1).encode(SENTENCES)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_configuration_loads_engines_of_two_versions_of_tensorrt(
    word_artifact: Path, repository: Path
) -> None:
    for tensorrt in ("10.7.0", "10.13.3"):
        build = EngineBuild("NVIDIA L4", "8.9", tensorrt, [Profile((1, 1), (8, 4), (64, 4))])
        file = build.file_name("fp16")
        (word_artifact / file).write_bytes(tensorrt.encode())
        engine = Variant("l4", "fp16", file, "tensorrt", 23, {}, build=build)
        write_manifest(word_artifact, variants=[engine])
        write(word_artifact, repository, variant="l4", serving=Serving(backend="tensorrt"))
    config = read_config(repository / "words" / "config.pbtxt")
    assert config.default_model_filename == "model.plan"
    for version, tensorrt in (("1", "10.7.0"), ("2", "10.13.3")):
        artifact = Artifact.open(repository / "words" / version)
        (variant,) = artifact.manifest.variants
        assert artifact.file("model.plan").read_bytes() == tensorrt.encode()
        assert (variant.file, variant.build and variant.build.tensorrt) == ("model.plan", tensorrt)


@pytest.mark.parametrize("backends", [("python", "onnxruntime"), ("onnxruntime", "python")])
def test_a_version_for_another_backend_is_not_kept(
    word_artifact: Path, repository: Path, backends: tuple[str, str]
) -> None:
    """If Triton fails to load one version of a model, it loads none of them."""
    for backend, kept in zip(backends, (2, 1), strict=True):
        write(word_artifact, repository, serving=Serving(backend=backend, shares_engine=True))
        config = read_config(repository / "words" / "config.pbtxt")
        assert config.version_policy.latest.num_versions == kept
        assert check(repository) == []
    write(word_artifact, repository, serving=Serving(backend=backends[1], shares_engine=True))
    config = read_config(repository / "words" / "config.pbtxt")
    assert config.version_policy.latest.num_versions == 2
    assert check(repository) == []


def test_versions_are_counted_as_numbers(word_artifact: Path, repository: Path) -> None:
    for _ in range(2):
        write(word_artifact, repository, with_text=False)
    (repository / "words" / "2").rename(repository / "words" / "11")
    assert write(word_artifact, repository)[0].version == 12


def test_what_is_no_version_is_passed_over(word_artifact: Path, repository: Path) -> None:
    write(word_artifact, repository, with_text=False)
    (repository / "words" / "07").mkdir()
    (repository / "words" / "9").touch()
    assert write(word_artifact, repository)[0].version == 2


def test_ranges_go_with_their_model(word_artifact: Path, repository: Path) -> None:
    lowest, highest, lengths = [-1] * DIMENSION, [1] * DIMENSION, [1] * DIMENSION
    np.save(word_artifact / "ranges.npy", np.array([lowest, highest, lengths], np.float32))
    write_manifest(word_artifact, embedding_ranges=RangesRecord("ranges.npy", "by hand", 1))
    write(word_artifact, repository)
    for name in ("words", "words_text"):
        model = load(repository / name / "1", threads=1)
        assert model.embedding_ranges().tolist() == [lowest, highest]
        with served(repository, name, "1").artifact() as artifact:
            assert EmbeddingRanges.read(artifact.file("ranges.npy"), DIMENSION)


def test_several_artifacts_and_their_names(word_artifact: Path, repository: Path) -> None:
    other = shutil.copytree(word_artifact, word_artifact.with_name("other.lanner"))
    names = ["A-1.b_2", "0"]
    written = write_repository([word_artifact, other], repository, names=names, with_text=False)
    assert [(model.name, model.version) for model in written] == [("A-1.b_2", 1), ("0", 1)]
    assert sorted(path.name for path in repository.iterdir()) == ["0", "A-1.b_2"]
    assert read_config(repository / "0" / "config.pbtxt").name == "0"


def test_what_was_written_as_json() -> None:
    assert WrittenModel("words", 1, "fp32").to_json() == {
        "name": "words",
        "version": 1,
        "variant": "fp32",
        "notes": [],
    }


@pytest.mark.parametrize("name", ["", "a b", "a/b", ".a", "-a", "\u00e9", "words_text", "_text"])
def test_names_that_cannot_be_used(word_artifact: Path, repository: Path, name: str) -> None:
    message = (
        f"{name!r} is not allowed as the name of a model: use letters, digits, '_', '.' and '-', "
        "and do not end it in _text, which is for text models"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        write(word_artifact, repository, names=[name])
    assert not repository.exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "2 artifacts need 2 names, not 1"),
        (["a", "a"], "two models would have the same name (a, a): give each its own name"),
        (None, "two models would have the same name (words, words): give each its own name"),
    ],
)
def test_each_model_has_a_name(
    word_artifact: Path, repository: Path, names: list[str] | None, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        write_repository([word_artifact] * 2, repository, names=names)
    assert not repository.exists()


def test_what_is_no_repository(word_artifact: Path, repository: Path) -> None:
    message = f"{word_artifact} is an artifact, not a repository: choose another directory"
    with pytest.raises(RepositoryError, match=re.escape(message)):
        write(word_artifact, word_artifact)
    path = word_artifact / "manifest.json"
    with pytest.raises(RepositoryError, match=re.escape(f"{path} is a file: choose a directory")):
        write(word_artifact, path)
    (repository / "documents").mkdir(parents=True)
    message = (
        f"{repository} is not a model repository of Triton: it holds 'documents', which has no "
        "config.pbtxt; choose an empty or a new directory"
    )
    with pytest.raises(RepositoryError, match=re.escape(message)):
        write(word_artifact, repository)
    assert files(repository) == []


def test_models_of_others_stay_as_they_are(word_artifact: Path, tmp_path: Path) -> None:
    other = tmp_path / "repository" / "other"
    other.mkdir(parents=True)
    (other / "config.pbtxt").write_text('backend: "identity"')
    (other.parent / ".git").mkdir()
    write(word_artifact, other.parent)
    assert contents(other) == {"config.pbtxt": b'backend: "identity"'}
    assert (other.parent / "words" / "config.pbtxt").exists()


@pytest.mark.parametrize("taken", ["words", "words_text"])
def test_a_model_of_somebody_else_gets_no_version(
    word_artifact: Path, repository: Path, taken: str
) -> None:
    (repository / taken / "1").mkdir(parents=True)
    (repository / taken / "1" / "model.onnx").write_bytes(b"x")
    (repository / taken / "config.pbtxt").write_text('backend: "onnxruntime"')
    before = contents(repository)
    message = (
        f"{repository / taken} cannot get a new version, since "
        "version 1 is not a complete artifact ("
    )
    with pytest.raises(RepositoryError, match=re.escape(message)):
        write(word_artifact, repository)
    assert contents(repository) == before


@pytest.mark.parametrize("name", ["tokenizer.json", "quality.json", "model.fp32.onnx"])
@pytest.mark.parametrize("with_older", [False, True])
def test_a_damaged_artifact_writes_nothing(
    word_artifact: Path, repository: Path, name: str, with_older: bool
) -> None:
    whole = Path(shutil.copytree(word_artifact, word_artifact.with_name("whole.lanner")))
    if with_older:
        write(whole, repository)
    before = contents(repository)
    raw = (word_artifact / name).read_bytes()
    (word_artifact / name).write_bytes(raw[:-1] + b"?")
    message = f"{word_artifact / name} was changed after it was written"
    with pytest.raises(CorruptArtifactError, match=re.escape(message)):
        write_repository([whole, word_artifact], repository, variant="fp32", names=["other", "x"])
    with pytest.raises(CorruptArtifactError, match=re.escape(message)):
        write(word_artifact, repository)
    assert contents(repository) == before
    assert repository.exists() == with_older
    assert with_older == any(repository.rglob("*"))


def test_a_damaged_older_version_is_named(word_artifact: Path, repository: Path) -> None:
    write(word_artifact, repository)
    (repository / "words_text" / "1" / "tokenizer.json").write_bytes(b"{}")
    (repository / "words" / "1" / "tokenizer.json").write_bytes(b"{}")
    before = contents(repository)
    message = (
        f"{repository / 'words'} cannot get a new version, since "
        "version 1 is not a complete artifact ("
    )
    with pytest.raises(RepositoryError, match=re.escape(message)):
        write(word_artifact, repository)
    assert contents(repository) == before


@contextmanager
def no_file_above(limit_bytes: int) -> Iterator[None]:
    """Limit the size of files in the block, so that writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


#: The files of the word artifact have up to 2,000 bytes each; a configuration contains some of them
#: and is larger.
@pytest.mark.parametrize("limit_bytes", [10, 2_500])
def test_a_model_that_finds_no_room_is_taken_back(
    word_artifact: Path, repository: Path, limit_bytes: int
) -> None:
    message = (
        f"cannot write {repository / 'words'} (File too large): check free space and "
        "permissions, or choose another --output"
    )
    with (
        pytest.raises(RepositoryError, match=f"^{re.escape(message)}$"),
        no_file_above(limit_bytes),
    ):
        write(word_artifact, repository)
    assert not repository.exists() or files(repository) == []
    # The repository can still be written to.
    assert [model.version for model in write(word_artifact, repository)] == [1, 1]
    before = contents(repository)
    with (
        pytest.raises(RepositoryError, match=f"^{re.escape(message)}$"),
        no_file_above(limit_bytes),
    ):
        write(word_artifact, repository)
    assert contents(repository) == before
    assert [model.version for model in write(word_artifact, repository)] == [2, 2]


def test_a_text_model_that_finds_no_room_leaves_its_token_model(
    word_artifact: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules[write_repository.__module__], "text_config", fails)
    message = f"^cannot write {repository}/words_text \\(No space left on device\\): check free"
    with pytest.raises(RepositoryError, match=message):
        write(word_artifact, repository)
    assert [path.name for path in repository.iterdir()] == ["words"]
    monkeypatch.undo()
    # The repository can still be written to.
    assert [model.version for model in write(word_artifact, repository)] == [2, 2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"variant": "bf16"}, VariantError, "holds no variant 'bf16', only fp32, int8"),
        (
            {"serving": Serving(buckets=(2, 8))},
            InputError,
            "the longest bucket is 8, but the model takes 4 tokens: end the buckets with 4",
        ),
        (
            {"serving": Serving(backend="tensorrt")},
            UnsupportedError,
            "fp32 for onnxruntime, but the backend tensorrt needs an engine: build one first with",
        ),
    ],
)
def test_what_cannot_be_served_writes_nothing(
    word_artifact: Path,
    repository: Path,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    other = Path(shutil.copytree(word_artifact, word_artifact.with_name("other.lanner")))
    write_manifest(other, tokenizer=replace(Manifest.read(other).tokenizer, max_tokens=8))
    with pytest.raises(error, match=re.escape(message)):
        write_repository(
            [other, word_artifact], repository, names=["a", "b"], **{"variant": "fp32", **options}
        )
    assert not repository.exists()


def own_weights(engine: str = "onnxruntime") -> list[Variant]:
    return [Variant("fp32", "fp32", "model.fp32.onnx", engine, 23, {}, weights_file="weights.data")]


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_weights_of_their_own_and_engines_of_others(
    word_artifact: Path, repository: Path, backend: str
) -> None:
    (word_artifact / "weights.data").write_bytes(b"x")
    serving = Serving(backend=backend)
    write_manifest(word_artifact, variants=own_weights())
    message = (
        f"{word_artifact} has its weights in a separate file, which is untested with the "
        f"backend {backend}: use the backend python"
    )
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        write(word_artifact, repository, serving=serving)
    write_manifest(word_artifact, variants=own_weights("tensorrt"))
    message = (
        f"{word_artifact} holds the variant fp32 for tensorrt, which the backend {backend} does "
        "not run: name another with --variant"
    )
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        write(word_artifact, repository, serving=serving)
    assert not repository.exists()


def test_weights_of_their_own_go_with_the_graph(word_artifact: Path, repository: Path) -> None:
    (word_artifact / "weights.data").write_bytes(b"x")
    write_manifest(word_artifact, variants=own_weights())
    write(word_artifact, repository)
    for name in ("words", "words_text"):
        assert (repository / name / "1" / "weights.data").read_bytes() == b"x"


def test_what_is_no_artifact(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone is not a directory: pass one that"):
        write(tmp_path / "gone", repository)
    assert not repository.exists()


def test_int8_for_onnxruntime_is_laid_out_for_the_processor_that_writes(
    tiny_artifact: Artifact, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """int8 written with VNNI and served without it saturates; the check reports this."""
    elsewhere = ServingMachine(cores=2, has_fast_int8=False)
    answers = []
    for name, flags, is_signed in (
        ("fast", ("avx512_vnni",), True),
        ("slow", ("avx2",), False),
    ):
        machine = replace(this_machine(), cpu_flags=flags)
        monkeypatch.setattr(
            "lanner.engines.onnxruntime.this_machine", lambda machine=machine: machine
        )
        write(
            tiny_artifact.directory,
            repository,
            names=[name],
            variant="int8",
            serving=Serving(backend="onnxruntime"),
        )
        path = repository / name / "1" / "model.onnx"
        assert has_signed_weights(path) is is_signed
        found = [one.file for one in check(repository, elsewhere) if one.rule == "saturating-int8"]
        assert found == [repository / "fast" / "1" / "model.onnx"]
        monkeypatch.undo()
        feed = {n: np.full((2, 5), 1, np.int64) for n in tiny_artifact.manifest.inputs}
        answers.append(open_session(path).run(None, feed)[0])
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-5)


def test_a_graph_is_optimized_beforehand_for_onnxruntime_alone(
    word_artifact: Path, repository: Path
) -> None:
    graph = (word_artifact / "model.fp32.onnx").read_bytes()
    for backend, name, is_as_it_was in (
        ("python", "model.fp32.onnx", True),
        ("onnxruntime", "model.onnx", False),
    ):
        write(word_artifact, repository, names=[backend], serving=Serving(backend=backend))
        assert ((repository / backend / "1" / name).read_bytes() == graph) == is_as_it_was
