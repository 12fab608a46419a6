"""The known answers for the canary, written by the models that a service would serve."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lanner.files.staging import require_output_file, staged_file
from lanner.service.core.canary import TEXTS, Known, known_answers, to_bytes
from lanner.service.settings import Settings
from lanner.service.targets import open_target


def write_known_answers(settings: Settings, path: Path) -> None:
    """Write the answers of all models to the texts of the canary into a file.

    Args:
        settings: The settings of the service.
        path: The file.

    Raises:
        LannerError: A model cannot be loaded or does not answer, or the file cannot be written.
    """
    require_output_file(path)
    found = asyncio.run(_ask(settings))
    with staged_file(path) as file:
        file.write(to_bytes(found))


async def _ask(settings: Settings) -> dict[str, Known]:
    found = {}
    with ThreadPoolExecutor(1) as threads:
        for name, target in settings.models.items():
            served = open_target(name, target, settings, threads)
            found[name] = Known(TEXTS, await known_answers(served, TEXTS))
            served.model.close()
    return found
