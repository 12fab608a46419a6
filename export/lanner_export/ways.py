"""Loading the ways of a checkpoint, each as a checkpoint of its own, and joining them.

The ways are those of a Router, or adapters of which one is for queries and one for documents.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lanner.artifact.heads import Head
from lanner.artifact.manifest import TASKS
from lanner.errors import InputError, UnsupportedError, UsageError
from lanner_export.checkpoint.checkpoint import Checkpoint, public_name

#: Loads the way of a task, given its name for messages and a directory with room for its files.
LoadWay = Callable[[str | None, str, Path], Checkpoint]
#: What ways must have in common.
_ALIKE = ("head", "dimension", "similarity")


def load_ways(
    tasks: Iterable[str | None],
    load: LoadWay,
    *,
    default: str | None,
    checkpoint: str,
    scratch: Path | None,
    warnings: Sequence[str] = (),
) -> Checkpoint:
    """Load the checkpoint of each task's way; the default one holds the others.

    Args:
        tasks: The tasks; None alone if all texts take one way.
        load: Loads the way of a task.
        default: The task of the way that texts take without one.
        checkpoint: The name of the checkpoint, for messages.
        scratch: A directory with room for links to the files of each way.
        warnings: Sentences for the user.

    Raises:
        InputError: There is no `scratch`.
        UnsupportedError: The answers of the ways cannot be compared, or are no vectors.
    """
    if scratch is None:
        msg = f"{checkpoint} has several ways: pass scratch, a directory for links to its files"
        raise InputError(msg)
    loaded: dict[str | None, Checkpoint] = {}
    for task in tasks:
        room = scratch / "ways" / str(task)
        room.mkdir(parents=True)
        found = load(task, checkpoint if task is None else f"{checkpoint} ({task})", room)
        source = {**found.source, "checkpoint": public_name(checkpoint)}
        loaded[task] = replace(found, source=source)
    own = loaded.pop(default)
    if loaded and own.head != Head.EMBED:
        msg = (
            f"the ways of {checkpoint} have the head {own.head!r}, and Lanner exports several ways "
            "of sentence vectors alone: export each as a checkpoint of its own"
        )
        raise UnsupportedError(msg)
    for task, other in loaded.items():
        for what in _ALIKE:
            ours, theirs = getattr(own, what), getattr(other, what)
            if ours != theirs:
                msg = (
                    f"the ways of {checkpoint} have another {what}, {ours} of {default} and "
                    f"{theirs} of {task}, so that their vectors cannot be compared: export each as "
                    "a checkpoint of its own"
                )
                raise UnsupportedError(msg)
    told = [*warnings, *own.warnings, *(one for way in loaded.values() for one in way.warnings)]
    return replace(
        own,
        task=default,
        ways={str(task): other for task, other in loaded.items()},
        warnings=list(dict.fromkeys(told)),
    )


def parse_adapters(given: Sequence[str]) -> dict[str | None, str]:
    """Return the folder of each task's adapter, from ``NAME`` or ``TASK=NAME`` for each task.

    The key None stands for all texts; there is nothing if `given` is empty.

    Raises:
        UsageError: It is neither one name nor one for each task.
    """
    found: dict[str | None, str] = {}
    for one in given:
        task, equals, name = one.rpartition("=")
        found[task if equals else None] = name
    if len(found) < len(given) or (found and set(found) not in ({None}, {*TASKS})):
        msg = (
            f"--adapter is given as {', '.join(given)}: give one name, or one for each task, "
            f"{' '.join(f'--adapter {task}=NAME' for task in TASKS)}"
        )
        raise UsageError(msg)
    return found
