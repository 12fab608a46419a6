import os

import numpy as np
import pytest

pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")

from lanner.engines.native.plan import Activation, Plan, Pooling, Tensor
from lanner_perf.tools import native_speeds


def test_ctranslate2_is_held_only_while_its_subjects_start(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, onednn = native_speeds.HELD
    monkeypatch.delenv(cpu, raising=False)
    monkeypatch.setenv(onednn, "AVX512_CORE")
    with native_speeds._holding(native_speeds.HELD_NAMES["avx2"]):
        assert (os.environ[cpu], os.environ[onednn]) == ("AVX2", "AVX2")
    assert (os.environ.get(cpu), os.environ[onednn]) == (None, "AVX512_CORE")
    with native_speeds._holding(()):
        assert (os.environ.get(cpu), os.environ[onednn]) == (None, "AVX512_CORE")


def test_operations_count_shared_layers_as_often_as_they_run() -> None:
    tensors: dict[str, Tensor] = {
        "layer.0.output.weight": np.zeros((3, 5), np.int8),
        "layer.0.norm.weight": np.zeros(5, np.float32),
        "embeddings.word.weight": np.zeros((7, 5), np.int8),
        "dense.0.weight": np.zeros((5, 5), np.float32),
    }
    plan = Plan(
        layers=4,
        layer_groups=1,
        hidden_size=5,
        embedding_size=5,
        heads=1,
        intermediate_size=3,
        head_size=5,
        key_value_heads=1,
        max_tokens=8,
        attention_scale=1.0,
        norm_epsilon=1e-5,
        position_offset=None,
        dimension=5,
        activation=Activation.RELU,
        pooling=Pooling.MEAN,
        tensors=tensors,
    )
    assert native_speeds.operations_a_token(plan) == 2 * 15 * 4
