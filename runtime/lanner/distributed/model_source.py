"""The model of a worker: pinned where the work is planned, opened once in each process."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest
from lanner.distributed.storage import fetched, is_url
from lanner.errors import ArtifactError, InputError
from lanner.loading.configuration import Configuration
from lanner.loading.load import load
from lanner.machine.machine import available_cores
from lanner.running.defaults import TOKEN_BUDGET
from lanner.triton.client.connection import connect
from lanner.triton.client.transport import SCHEMES

#: Ray and Spark set it in their workers to the number of cores of a task.
CORES_VARIABLE = "OMP_NUM_THREADS"
_MODELS: dict["ModelSource", Any] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class ModelSource:
    """A model that every process opens in the same way; picklable.

    Attributes:
        place: The directory of the artifact, its URL in storage, or the URL of a server's model.
        checksum: The checksum of its manifest.
        variant: The variant.
        engine: The engine.
        device: The device.
        threads: Cores to use; None for the share of the process.
    """

    place: str
    checksum: str
    variant: str
    engine: str
    device: str = "cpu"
    threads: int | None = None

    @classmethod
    def pinned(
        cls,
        place: str | Path,
        *,
        variant: str = "auto",
        engine: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> tuple[Self, Manifest]:
        """Decide what every process opens; return it with the manifest.

        Raises:
            LannerError: See `lanner.load` and `lanner.connect`.
        """
        where = os.fspath(place)
        if is_server(where):
            if (variant, engine, device, threads) != ("auto", "auto", "auto", None):
                msg = "the server decides variant, engine, device and threads: omit them with a URL"
                raise InputError(msg)
            with connect(*split_url(where)) as model:
                own = cls(where, model.manifest.checksum, model.variant.name, "triton")
                return own, model.manifest
        if not is_url(where):
            where = str(Path(where).absolute())
        artifact = Artifact.open(fetched(where))
        decided = Configuration.default(
            artifact, threads=1, engine=engine, variant=variant, device=device
        )
        manifest = artifact.manifest
        return cls(
            where, manifest.checksum, decided.variant, decided.engine, decided.device, threads
        ), manifest

    def model(self) -> Any:
        """Return the model of this process, which the first call opens.

        Raises:
            ArtifactError: The artifact, or the model of the server, is another one by now.
            LannerError: See `lanner.load` and `lanner.connect`.
        """
        with _LOCK:
            if self not in _MODELS:
                _MODELS[self] = self._opened()
            return _MODELS[self]

    @property
    def is_remote(self) -> bool:
        """True if a server runs the model."""
        return is_server(self.place)

    def _opened(self) -> Any:
        if self.is_remote:
            model = connect(*split_url(self.place))
            if (found := model.manifest.checksum) != self.checksum:
                model.close()
                msg = (
                    f"{self.place} serves another model than at the start (its manifest is "
                    f"{found[:12]}, then {self.checksum[:12]}): start again with one of them"
                )
                raise ArtifactError(msg)
            return model
        threads = self.threads or share_of_cores()
        # A choice of lanner tune differs from node to node, and with it the batches.
        is_on_cpu = self.device == "cpu"
        return load(
            fetched(self.place, self.checksum),
            variant=self.variant,
            engine=self.engine,
            device=self.device,
            threads=threads,
            workers=threads if is_on_cpu else None,
            token_budget=TOKEN_BUDGET if is_on_cpu else None,
        )


def share_of_cores() -> int:
    """Return the number of cores for a worker: those of its task, or all of the process."""
    given = os.environ.get(CORES_VARIABLE, "")
    cores = available_cores()
    return min(int(given), cores) if given.isdecimal() and int(given) else cores


def is_server(place: str) -> bool:
    """Return whether a place is the URL of a server's model."""
    return place.partition("://")[0] in SCHEMES and is_url(place)


def split_url(place: str) -> tuple[str, str]:
    """Split the URL of a model into the server's and the name of the model.

    Raises:
        InputError: It names no model.
    """
    url, _, name = place.rpartition("/")
    if not name or url.endswith("/"):
        msg = f"{place} names no model: add it, for example {place.rstrip('/')}/minilm"
        raise InputError(msg)
    return url, name
