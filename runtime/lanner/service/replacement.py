"""Load new versions of artifacts beside the old ones, and exchange them between requests."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from lanner.artifact.manifest import MANIFEST_FILE
from lanner.errors import LannerError
from lanner.machine.file_state import FileState, file_state_if_any
from lanner.service.core.catalogue import Catalogue
from lanner.service.core.served import ServedModel

#: Loads a new version of a model; takes its name and the version number.
Open = Callable[[str, int], ServedModel]


class Replacement:
    """Watches directories, and replaces a model when its directory holds another artifact.

    Args:
        catalogue: The models.
        directories: The directories of the models in this process, by name.
        open_model: Loads a new version.
        every_s: Seconds between two looks at the directories.
        tell: Takes a message when a new version takes over, or cannot be used.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        directories: dict[str, Path],
        open_model: Open,
        *,
        every_s: float,
        tell: Callable[[str], object],
    ) -> None:
        self._tell = tell
        self._catalogue, self._open = catalogue, open_model
        self._directories, self._every_s = directories, every_s
        self._states = {name: _state(path) for name, path in directories.items()}

    async def run(self) -> None:
        """Watch until the task is cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            for name, path in self._directories.items():
                state = _state(path)
                if state is None or state == self._states[name]:
                    continue  # while a directory is exchanged, it has no manifest for a moment
                self._states[name] = state
                await self._replace(name)

    async def _replace(self, name: str) -> None:
        before = self._catalogue.models[name]
        try:
            after = await asyncio.to_thread(self._open, name, before.version + 1)
            _require_alike(before, after)
        except (LannerError, OSError) as error:
            self._tell(f"the new version of {name} is not used: {error}")
            return
        # Running requests keep the old model, which is freed after the last of them.
        self._catalogue.models[name] = after
        self._tell(f"version {after.version} of {name} takes over")


def _state(directory: Path) -> FileState | None:
    """Return the state of the manifest, which no other artifact has, or None if there is none."""
    return file_state_if_any(directory / MANIFEST_FILE)


def _require_alike(before: ServedModel, after: ServedModel) -> None:
    """Check that the answers of a new version have the same meaning as before.

    Raises:
        LannerError: Their meaning is different.
    """
    for what in ("head", "dimension", "similarity", "labels", "activation"):
        old, new = getattr(before.manifest, what), getattr(after.manifest, what)
        if old != new:
            msg = f"its {what} is another one, so clients would read its answers wrongly: restart"
            raise LannerError(msg)
