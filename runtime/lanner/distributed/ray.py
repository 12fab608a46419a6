"""Ray: the fragments of a job as tasks of a cluster, and the datasets of Ray Data."""

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner.distributed.arrow_encoder import ArrowEncoder
from lanner.distributed.fragments import Fragment
from lanner.distributed.job import Done, Work
from lanner.errors import EngineError, InputError, MissingExtraError

try:
    import ray
except ImportError as error:
    what = "encoding on Ray"
    raise MissingExtraError(what, "ray", "ray") from error

if TYPE_CHECKING:
    from ray.data import Dataset

#: Fragments in the queue of each worker: one runs, and one waits.
_QUEUED = 2
#: The most times that a fragment is repeated, because its worker or its node has died.
_MOST_REPEATS = 20
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class Ray:
    """Encodes the fragments of a job on a cluster.

    Attributes:
        address: The address of the cluster; empty for the one that `ray.init` finds or starts.
        cores: Cores of a worker; None for those of the smallest node.
    """

    address: str = ""
    cores: int | None = None

    def __call__(self, work: Work, fragments: Sequence[Fragment]) -> Iterator[Done]:
        """See `lanner.distributed.job.Executor`.

        Raises:
            InputError: The cluster has no node with so many cores.
            EngineError: A fragment's workers died again and again.
        """
        begin(self.address)
        cores, workers = shares(self.cores)
        encode = ray.remote(num_cpus=cores, max_retries=0)(_encode)
        own = replace(work, encoder=work.encoder.with_threads(cores))
        waiting = deque(fragments)
        repeats: Counter[Fragment] = Counter()
        running: dict[Any, Fragment] = {}
        while waiting or running:
            while waiting and len(running) < _QUEUED * workers:
                fragment = waiting.popleft()
                running[encode.remote(own, fragment)] = fragment
            (reference, *_), _ = ray.wait(list(running))
            fragment = running.pop(reference)
            try:
                done: Done = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:  # a worker or a node has died
                repeats[fragment] += 1
                if repeats[fragment] > _MOST_REPEATS:
                    raise _given_up(fragment, error) from None
                # Until the cluster knows that a node is dead, it sends tasks there.
                time.sleep(min(_LONGEST_PAUSE_S, 0.1 * 2 ** repeats[fragment]))
                waiting.append(fragment)
            else:
                yield done


def encode(
    dataset: "Dataset",
    artifact: str | Path | ArrowEncoder,
    *,
    cores: int | None = None,
    workers: int | None = None,
    **options: Any,
) -> "Dataset":
    """Add a model's answers to a dataset of Ray Data.

    Args:
        dataset: A dataset with a column of texts.
        artifact: An artifact, see `ArrowEncoder`; or a worker, which has its options already.
        cores: Cores of a worker; None for those of the smallest node.
        workers: The most workers; None for as many as the cluster has cores for.
        options: The arguments of `ArrowEncoder`, such as ``column``.

    Returns:
        The dataset with the columns of the answer, lazily.

    Raises:
        LannerError: See `ArrowEncoder`.
    """
    encoder = artifact if isinstance(artifact, ArrowEncoder) else ArrowEncoder(artifact, **options)
    begin()
    cores, most = shares(cores)
    return dataset.map_batches(
        _Worker,
        fn_constructor_args=(encoder.with_threads(cores),),
        batch_format="pyarrow",
        batch_size=encoder.window_rows,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers or most),
        num_cpus=cores,
    )


class _Worker:
    """A worker in an actor of Ray Data."""

    def __init__(self, encoder: ArrowEncoder) -> None:
        self._encoder = encoder
        encoder.source.model()

    def __call__(self, batch: Any) -> Any:
        return self._encoder(batch)


def begin(address: str = "") -> None:
    """Connect to a cluster, unless this process is connected already."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent
    try:
        ray.init(address=address or None, include_dashboard=None if address else False)
    except (ConnectionError, ValueError) as error:
        msg = f"no cluster of Ray answers at {address or 'its default address'}: {error}"
        raise InputError(msg) from None


def shares(cores: int | None) -> tuple[int, int]:
    """Return the cores of a worker, and how many workers the cluster has room for.

    Raises:
        InputError: No node has so many cores.
    """
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    nodes = [count for count in nodes if count]
    if not nodes or (cores is not None and cores > max(nodes)):
        most = max(nodes, default=0)
        msg = f"no node of the cluster has {cores or 1} cores: the largest has {most}"
        raise InputError(msg)
    cores = cores or min(nodes)
    return cores, sum(count // cores for count in nodes)


def _encode(work: Work, fragment: Fragment) -> Done:
    return work.encode(fragment)


def _given_up(fragment: Fragment, error: Exception) -> EngineError:
    why = str(error).strip().partition("\n")[0]
    return EngineError(
        f"the workers at {fragment} have died {_MOST_REPEATS} times ({why}): see whether the "
        "memory of a node suffices"
    )
