import re
from typing import Any

import pytest

from lanner.errors import InputError
from lanner.triton.repository.serving import BACKENDS, Serving


def test_the_defaults_by_hand() -> None:
    serving = Serving()
    assert serving.backend == "python"
    assert (serving.instances, serving.cores, serving.threads) == (1, None, None)
    assert (serving.max_batch_size, serving.max_queue_size) == (64, None)
    assert (serving.max_queue_delay_us, serving.preferred_batch_sizes) == (0, ())
    assert (serving.queue_timeout_ms, serving.priority_levels) == (None, 0)
    assert serving.warmup
    assert not serving.response_cache
    assert not serving.shares_engine


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backend": "pytorch"},
            "there is no backend 'pytorch': use python, onnxruntime, tensorrt",
        ),
        (
            {"backend": "openvino"},
            (
                "Lanner writes nothing for the backend openvino: it runs each request alone, and "
                "in bfloat16, which it cannot be told to leave: vectors of int8 keep a cosine of "
                "0.971 with those in process; use python"
            ),
        ),
        ({"instances": 0}, "instances must be at least 1, not 0"),
        ({"max_batch_size": 0}, "max_batch_size must be at least 1, not 0"),
        ({"max_queue_size": 0}, "max_queue_size must be at least 1, not 0"),
        ({"cores": 0}, "cores must be at least 1, not 0"),
        ({"queue_timeout_ms": 0}, "queue_timeout_ms must be at least 1, not 0"),
        ({"max_queue_delay_us": -1}, "max_queue_delay_us must be at least 0, not -1"),
        ({"priority_levels": -1}, "priority_levels must be at least 0, not -1"),
        (
            {"instances": 3, "cores": 2},
            "3 instances share 2 cores: use at most one per core",
        ),
        (
            {"preferred_batch_sizes": (4, 65)},
            "the preferred batch size 65 must be from 1 to 64, the largest batch",
        ),
        (
            {"preferred_batch_sizes": (0,), "max_batch_size": 8},
            "the preferred batch size 0 must be from 1 to 8, the largest batch",
        ),
        (
            {"buckets": (32, 16)},
            "the buckets '32,16' must be increasing lengths in tokens, of at most 131,072",
        ),
        (
            {"buckets": (0, 16)},
            "the buckets '0,16' must be increasing lengths in tokens, of at most 131,072",
        ),
    ],
)
def test_what_cannot_be_served(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Serving(**changes)


def test_what_can_just_be_served() -> None:
    serving = Serving(
        instances=2, cores=2, max_batch_size=8, preferred_batch_sizes=(1, 8), priority_levels=1
    )
    assert serving.threads == 1


@pytest.mark.parametrize(
    ("cores", "instances", "threads"), [(4, 1, 4), (4, 2, 2), (5, 2, 2), (3, 3, 1), (None, 2, None)]
)
def test_instances_share_the_cores(cores: int | None, instances: int, threads: int | None) -> None:
    assert Serving(cores=cores, instances=instances).threads == threads


def test_a_delay_ends_with_a_full_batch() -> None:
    assert Serving(max_queue_delay_us=100, max_batch_size=16).preferred_batch_sizes == (16,)
    stated = Serving(max_queue_delay_us=100, preferred_batch_sizes=(4, 8))
    assert stated.preferred_batch_sizes == (4, 8)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_buckets_are_of_the_backends_that_do_not_pack(backend: str) -> None:
    assert Serving().lengths(64) == ()
    assert Serving(backend=backend).lengths(64) == (16, 24, 32, 48, 64)
    # Without a limit the buckets end at 512.
    assert Serving(backend=backend).lengths(None)[-3:] == (256, 384, 512)


@pytest.mark.parametrize("backend", BACKENDS)
def test_buckets_that_were_asked_for(backend: str) -> None:
    serving = Serving(backend=backend, buckets=(8, 64))
    assert serving.lengths(64) == (8, 64)
    assert serving.lengths(None) == (8, 64)
    assert Serving(backend=backend, buckets=()).lengths(64) == ()


@pytest.mark.parametrize("max_tokens", [63, 65, 512])
def test_buckets_end_with_the_limit(max_tokens: int) -> None:
    message = (
        f"the longest bucket is 64, but the model takes {max_tokens} tokens: end the buckets with "
        f"{max_tokens}"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        Serving(buckets=(8, 64)).lengths(max_tokens)


def test_text_models_call_the_token_model_of_another_backend() -> None:
    assert [Serving(backend=backend).calls_token_model for backend in BACKENDS] == [
        False,
        True,
        True,
    ]
    assert Serving(shares_engine=True).calls_token_model
