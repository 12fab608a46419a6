"""The serving options of `lanner repository`."""

from dataclasses import dataclass
from typing import Any

from lanner.artifact.buckets import default_buckets, parse_buckets
from lanner.engines import DEVICES, engine_names
from lanner.errors import InputError

BACKENDS = ("python", "onnxruntime", "tensorrt")
#: Backends of Triton that a repository is not written for, with the reason.
_LEFT_OUT = {
    "openvino": "it runs each request alone, and in bfloat16, which it cannot be told to leave: "
    "vectors of int8 keep a cosine of 0.971 with those in process"
}
_CACHED = ("onnxruntime", "cuda")
#: The default for the largest batch: it fits a GPU, and a CPU's cache with many callers' texts.
MAX_BATCH_SIZE = 64
#: The limit that buckets are made for if a model has none.
_LIMIT_OF_THE_UNLIMITED = 512


@dataclass(frozen=True)
class Serving:
    """The serving options of a model.

    Attributes:
        backend: One of `BACKENDS`. ``"python"`` runs in any Triton and packs unequal lengths
            itself; the others pad requests to `buckets`.
        cores: CPU cores that all instances of a model share, or None for all of the server's; for
            ONNX Runtime, which cannot tell how many those are, all of this machine.
        instances: Copies of the model that run at once, sharing the cores.
        max_batch_size: The most texts that run together.
        preferred_batch_sizes: Sizes at which a batch waits no longer.
        max_queue_delay_us: The time that the first request of a batch waits for others.
        max_queue_size: The most requests that may wait, or None for any number; more are refused.
        queue_timeout_ms: The time after which a waiting request is refused, or None for a day. A
            request may set a shorter time of its own.
        priority_levels: Levels of priority, 1 being served first; 0 for none.
        buckets: The lengths that requests are padded to, or None for those of the backend.
        response_cache: Cache answers, if the server has a response cache. Triton 2.51 also caches
            failures, as empty answers, so it is not the default.
        warmup: Run each bucket, or a text, once before the model counts as ready.
        shares_engine: True if a text model calls its token model instead of loading the weights a
            second time: it takes less memory, and one call more. Always true for backends other
            than Python's.
        device: ``"cpu"``, or ``"cuda"`` for an NVIDIA GPU; always the GPU for the backend tensorrt.
        engine: The engine of the backend python, one of `engine_names`: without it a server does
            not load the model. ``"auto"`` takes the fastest that the server has.
        engine_cache: The server's directory for engines that ONNX Runtime builds with TensorRT;
            None for ONNX Runtime's own kernels.
    """

    backend: str = "python"
    cores: int | None = None
    instances: int = 1
    max_batch_size: int = MAX_BATCH_SIZE
    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    max_queue_size: int | None = None
    queue_timeout_ms: int | None = None
    priority_levels: int = 0
    buckets: tuple[int, ...] | None = None
    response_cache: bool = False
    warmup: bool = True
    shares_engine: bool = False
    device: str = "cpu"
    engine: str = "auto"
    engine_cache: str | None = None

    def __post_init__(self) -> None:
        require_backend(self.backend)
        least: dict[str, int] = {"instances": 1, "max_batch_size": 1, "max_queue_size": 1}
        least |= {"cores": 1, "queue_timeout_ms": 1, "max_queue_delay_us": 0, "priority_levels": 0}
        for name, bound in least.items():
            value: Any = getattr(self, name)
            if value is not None and value < bound:
                msg = f"{name} must be at least {bound}, not {value}"
                raise InputError(msg)
        if self.device not in DEVICES:
            msg = f"the backend {self.backend} does not run on {self.device!r}: use 'cpu'"
            raise InputError(msg)
        if self.engine != "auto":
            require_engine(self.engine)
            if self.backend != "python":
                msg = (
                    f"the backend {self.backend} has its own engine: choose the backend python for "
                    f"the engine {self.engine}, or omit the engine"
                )
                raise InputError(msg)
        if self.engine_cache is not None and (self.backend, self.device) != _CACHED:
            msg = (
                "an engine cache is for the backend onnxruntime on the device cuda: choose both, "
                "or omit it"
            )
            raise InputError(msg)
        if self.cores is not None and not self.is_on_gpu and self.instances > self.cores:
            msg = f"{self.instances} instances share {self.cores} cores: use at most one per core"
            raise InputError(msg)
        if too_large := [n for n in self.preferred_batch_sizes if not 0 < n <= self.max_batch_size]:
            msg = (
                f"the preferred batch size {too_large[0]} must be from 1 to {self.max_batch_size}, "
                "the largest batch"
            )
            raise InputError(msg)
        parse_buckets(",".join(map(str, self.buckets or ())))  # checks the lengths
        if self.max_queue_delay_us and not self.preferred_batch_sizes:
            # With a delay and no preferred size, every batch would wait the full delay.
            object.__setattr__(self, "preferred_batch_sizes", (self.max_batch_size,))

    @property
    def is_on_gpu(self) -> bool:
        """True if the model runs on a GPU."""
        return self.backend == "tensorrt" or self.device == "cuda"

    @property
    def threads(self) -> int | None:
        """Return the cores of one instance, or None for an equal share of all."""
        return None if self.cores is None else max(1, self.cores // self.instances)

    @property
    def calls_token_model(self) -> bool:
        """True if text models call their token models."""
        return self.shares_engine or self.backend != "python"

    def lengths(self, max_tokens: int | None) -> tuple[int, ...]:
        """Return the buckets of a model; empty for the Python backend unless they were asked for.

        Raises:
            InputError: The longest bucket is not the model's limit.
        """
        limit = max_tokens or _LIMIT_OF_THE_UNLIMITED
        if self.buckets is None:
            return () if self.backend == "python" else default_buckets(limit)
        if self.buckets and max_tokens is not None and self.buckets[-1] != max_tokens:
            msg = (
                f"the longest bucket is {self.buckets[-1]}, but the model takes {max_tokens} "
                f"tokens: end the buckets with {max_tokens}"
            )
            raise InputError(msg)
        return self.buckets


def require_engine(name: str) -> str:
    """Return ``"auto"`` or the name of an engine.

    Raises:
        InputError: There is none of that name.
    """
    if name == "auto" or name in engine_names():
        return name
    msg = f"there is no engine {name!r}: use auto, {', '.join(engine_names())}"
    raise InputError(msg)


def require_backend(name: str) -> str:
    """Return the name of a backend that repositories are written for.

    Raises:
        InputError: There is none of that name, or it is left out.
    """
    if name in BACKENDS:
        return name
    msg = f"there is no backend {name!r}: use {', '.join(BACKENDS)}"
    if name in _LEFT_OUT:
        msg = f"Lanner writes nothing for the backend {name}: {_LEFT_OUT[name]}; use python"
    raise InputError(msg)
