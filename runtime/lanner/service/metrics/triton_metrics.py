"""The metrics of the Triton server behind the service, passed on."""

import asyncio
import re
import urllib.request

from lanner.service.metrics import families

#: The most bytes and seconds that reading them may take.
_MOST_BYTES, _MOST_S = 8 * 2**20, 2.0
#: Triton's own names; others could be taken for those of the service.
_LINE = re.compile(r"(?:# (?:HELP|TYPE) )?nv_\w")


async def triton_metrics(url: str) -> str:
    """Return the metrics of a Triton server as text, with a line that tells if it answered.

    Args:
        url: The address of its metrics, http:// or https://.
    """
    try:
        text = await asyncio.to_thread(_read, url)
    except (OSError, ValueError):
        text = None
    up = families.TRITON_UP
    head = f"# HELP {up.name} {up.meaning}\n# TYPE {up.name} gauge\n"
    if text is None:
        return f"{head}{up.name} 0\n"
    lines = [line for line in text.splitlines() if _LINE.match(line)]
    return "\n".join([f"{head}{up.name} 1", *lines, ""])


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_MOST_S) as answer:  # noqa: S310 (the operator's URL)
        content: bytes = answer.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        msg = "the metrics of the Triton server are too large"
        raise ValueError(msg)
    return content.decode()
