"""The loading code of the peers' runtimes, as far as it works without them."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.imports import HEAVY, modules_after

from lanner_perf.kinds import loader_of
from lanner_perf.kinds.ctranslate2 import pooled
from lanner_perf.kinds.infinity import answer_concurrently
from lanner_perf.loading.plain import Embedding

#: Two texts of two tokens and one token; the values after them are padding.
HIDDEN = np.array([[[3, 0], [0, 4]], [[6, 8], [99, 99]]], np.float32)
LENGTHS = np.array([2, 1])


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_kinds_import_nothing_before_one_is_loaded() -> None:
    kinds = ("fastembed", "light-embed", "ctranslate2", "infinity", "lanner", "triton-plain")
    modules = modules_after(f"from lanner_perf.kinds import loader_of\n[*map(loader_of, {kinds})]")
    assert not modules & (HEAVY | {"lanner", "numpy", "onnxruntime", "fastembed", "infinity_emb"})
    assert {loader_of(kind).__name__.removeprefix("load_").replace("_", "-") for kind in kinds} == {
        *kinds
    }


@pytest.mark.parametrize(
    ("pooling", "is_normalized", "expected"),
    [
        ("mean", False, [[1.5, 2], [6, 8]]),
        ("mean", True, [[0.6, 0.8], [0.6, 0.8]]),
        ("cls", False, [[3, 0], [6, 8]]),
        ("cls", True, [[1, 0], [0.6, 0.8]]),
    ],
)
def test_tokens_are_pooled(pooling: str, is_normalized: bool, expected: list[list[float]]) -> None:
    vectors = pooled(HIDDEN, LENGTHS, Embedding(pooling, is_normalized, 2, 16))
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    assert vectors.dtype == np.float32


def test_so_many_callers_share_the_texts_out() -> None:
    texts = [f"text {number}" for number in range(10)]
    seen: list[str] = []
    together: list[int] = []
    open_calls = 0

    async def embed(sentences: list[str]) -> Any:
        nonlocal open_calls
        open_calls += 1
        together.append(open_calls)
        seen.extend(sentences)
        await asyncio.sleep(0)
        open_calls -= 1

    latencies_ms = asyncio.run(answer_concurrently(embed, texts, 3))
    assert sorted(seen) == texts
    assert max(together) == 3
    assert len(latencies_ms) == 10
    assert min(latencies_ms) > 0


@pytest.mark.slow
def test_torch_in_bfloat16_says_so(tiny_checkpoint: Path) -> None:
    code = (
        "from lanner_perf.kinds import loader_of\n"
        f"loaded = loader_of('sentence-transformers')({str(tiny_checkpoint)!r}, "
        "{'dtype': 'bfloat16'}, 1)\n"
        "vectors = loaded.encode(['a', 'b'])\n"
        "print(loaded.facts['precision'], vectors.dtype, loaded.facts['model_bytes'] > 0)"
    )
    assert run(code) == "bfloat16 float32 True"
