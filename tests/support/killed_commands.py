"""Commands in processes that are killed; each is forked from a process with all imports done."""

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

#: The directory for the graph of the exported checkpoint, which the first run traces.
_GRAPHS = "LANNER_TEST_GRAPHS"


class Commands:
    """The runner of commands of `lanner`.

    Args:
        directory: An empty directory for their output.
    """

    def __init__(self, directory: Path) -> None:
        self._said = directory / "said.txt"
        os.environ[_GRAPHS] = str(directory)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *_IMPORTED])

    def run(self, *arguments: object) -> float:
        """Run a command to its end, and return the seconds that it took."""
        begin = time.monotonic()
        assert not self.killed(*arguments), "it was not killed"
        return time.monotonic() - begin

    def killed(self, *arguments: object, after_s: float | None = None) -> bool:
        """Kill a command after a time; return True if it had not ended by then.

        A command that ends must succeed.
        """
        process = self._context.Process(
            target=_run, args=([str(one) for one in arguments], str(self._said))
        )
        process.start()
        process.join(after_s)
        was_running = process.is_alive()
        process.kill()
        process.join()
        assert was_running or process.exitcode == 0, self._said.read_text(encoding="utf-8")
        return was_running


_IMPORTED = (
    "lanner.commands",
    "lanner.engines.onnxruntime",
    "lanner.loading.load",
    "lanner.triton.repository.write",
    "lanner_export.export",
    "lanner_export.transformer.embedder",
    "sentence_transformers",
    "transformers.models.bert.modeling_bert",
)


def _run(arguments: list[str], said: str) -> None:
    with Path(said).open("w", encoding="utf-8") as file:
        for handle in (1, 2):
            os.dup2(file.fileno(), handle)
    from lanner.commands import main, tune  # noqa: PLC0415
    from lanner.tune.search import Effort  # noqa: PLC0415

    tune.EFFORT = Effort(
        (64,), least_round_s=0, most_round_s=0, finalists=2, middle_rounds=1, last_rounds=2
    )
    if arguments[0] == "export":
        from lanner_export.precision import variants  # noqa: PLC0415

        variants.write_fp32 = _write_fp32  # type: ignore[attr-defined]
    sys.exit(main(arguments))


def _write_fp32(
    graph: Any,
    inputs: Sequence[str],
    output: str,
    path: Path,
    *,
    without_passes: Collection[str] = (),
) -> list[str]:
    """Replace the function of that name: all exports have one checkpoint, and so one graph."""
    from lanner_export.graph.tracing import write_fp32  # noqa: PLC0415

    traced = Path(os.environ[_GRAPHS]) / "traced.onnx"
    if not traced.exists():
        names = write_fp32(graph, inputs, output, path, without_passes=without_passes)
        shutil.copyfile(path, traced)
        traced.with_suffix(".txt").write_text("\n".join(names))
    shutil.copyfile(traced, path)
    return traced.with_suffix(".txt").read_text().split("\n")
