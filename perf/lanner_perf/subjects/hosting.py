"""An artifact in this process, or behind a Triton server that is started for it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanner.triton.repository.serving import Serving
from lanner.triton.server.server import TritonServer

#: The ways to reach a model.
THROUGH = ("process", "grpc", "http")
_NAME = "model"


@contextmanager
def hosted(
    artifact: str, through: str, *, variant: str = "auto", threads: int | None = None
) -> Iterator[str]:
    """Yield the model argument of a command of `lanner`: a directory, or a server's URL.

    Args:
        artifact: The directory.
        through: One of `THROUGH`.
        variant: The variant that the server runs.
        threads: The cores that the server runs it on, or None for all.

    Raises:
        LannerError: The artifact cannot be served, or there is no server.
    """
    if through == "process":
        yield artifact
        return
    from lanner.triton.repository.write import write_repository  # noqa: PLC0415 (an extra)

    with tempfile.TemporaryDirectory(prefix="lanner-") as work:
        repository = Path(work) / "repository"
        serving = Serving(cores=threads)
        write_repository(
            [artifact],
            repository,
            serving=serving,
            variant=variant,
            names=[_NAME],
            with_text=False,
        )
        # The client may keep connections open; the server ends without waiting for them.
        server = TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, grace_s=0)
        with server:
            yield f"{server.grpc_url if through == 'grpc' else server.http_url}/{_NAME}"
