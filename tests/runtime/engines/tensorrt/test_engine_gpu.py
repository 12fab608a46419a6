"""The engine tensorrt on a real GPU, with engines that 'lanner build-engine' makes of MiniLM."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.engines.test_engines import feed_of

import lanner
from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Variant
from lanner.engines import Engine, open_engine
from lanner.errors import EngineError
from lanner.loading.selection import plans

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.tensorrt.building import EngineRequest, build_engines
from lanner_export.texts.calibration import calibration_texts

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("tensorrt_library")]
MOST_TEXTS = 16
#: Of fp16 against float32, of a text's vector.
LEAST_COSINE = 0.999


@pytest.fixture(scope="module")
def built(minilm_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    directory = tmp_path_factory.mktemp("engines") / "minilm.lanner"
    shutil.copytree(minilm_artifact.directory, directory)
    request = EngineRequest(("fp16",), calibration_texts(None), max_batch_size=MOST_TEXTS)
    return build_engines(directory, request)


@pytest.fixture(scope="module")
def plan(built: Artifact) -> Variant:
    return plans(built)[0]


@pytest.fixture
def engine(built: Artifact, plan: Variant) -> Engine:
    return open_engine("tensorrt", built.file(plan.file), build=plan.build)


@pytest.fixture(scope="module")
def reference(built: Artifact) -> Engine:
    return open_engine("onnxruntime", built.file("model.fp32.onnx"), threads=4)


def require_near(answer: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert np.isfinite(answer).all()
    assert ((answer * expected).sum(1)).min() >= LEAST_COSINE  # both are normalised


def test_the_edges_of_every_profile(engine: Engine, reference: Engine, plan: Variant) -> None:
    assert plan.build is not None
    for profile in plan.build.profiles:
        for shape in {profile.smallest, profile.typical, profile.largest}:
            inputs = feed_of(*shape)
            expected = reference.run(inputs)
            for _ in range(3):  # plainly, captured, as a graph
                require_near(engine.run(inputs), expected)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 100), (40, 20), (1, 256)], ids=str)
def test_any_batch(engine: Engine, reference: Engine, shape: tuple[int, int]) -> None:
    for _ in range(3):
        require_near(engine.run(feed_of(*shape)), reference.run(feed_of(*shape)))


def test_a_text_alone_and_among_others(engine: Engine) -> None:
    inputs = feed_of(MOST_TEXTS, 20)
    together = engine.run(inputs)
    for row in range(MOST_TEXTS):
        alone = engine.run({name: tensor[row : row + 1] for name, tensor in inputs.items()})
        assert float(alone[0] @ together[row]) >= 0.9999


def test_many_threads(engine: Engine, reference: Engine) -> None:
    random = np.random.default_rng(0)
    shapes = [(int(random.integers(1, 24)), int(random.integers(1, 200))) for _ in range(100)]
    expected = [reference.run(feed_of(*shape)) for shape in shapes]
    with ThreadPoolExecutor(8) as pool:
        for answer, right in zip(
            pool.map(lambda shape: engine.run(feed_of(*shape)), shapes), expected, strict=True
        ):
            require_near(answer, right)


def test_auto_takes_it(built: Artifact) -> None:
    model = lanner.load(built.directory)
    assert model.runner.engine.name == "tensorrt"
    texts = ["A plane is taking off.", "An air plane is taking off.", "A cat sleeps."]
    on_cpu = lanner.load(built.directory, device="cpu", variant="fp32").encode(texts)
    require_near(model.encode(texts), on_cpu)


def test_too_long_a_text(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"4096 tokens, but the longest profile of the engine t"):
        engine.run(feed_of(1, 4096))


def test_a_damaged_engine(built: Artifact, plan: Variant, tmp_path: Path) -> None:
    cut = tmp_path / plan.file
    cut.write_bytes(built.file(plan.file).read_bytes()[:1_000])
    with pytest.raises(EngineError, match=r"^TensorRT .* could not load "):
        open_engine("tensorrt", cut, build=plan.build)
