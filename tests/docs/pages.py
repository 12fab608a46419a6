"""The pages of the documentation, and the code in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
#: A comment before a block of Python that only some machines can run; it gives the reason.
_NOT_RUN = re.compile(r"<!-- not run: .+ -->")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The file of the block.
        line: The line of its first line, from 1.
        language: The word after the opening fence: ``python``, ``sh``, ``text``.
        code: Its text.
        is_run: False if a comment before it says that it cannot run everywhere.
    """

    page: Path
    line: int
    language: str
    code: str
    is_run: bool

    @property
    def place(self) -> str:
        """Return the file and the line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every page that a person may copy code from."""
    others = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")]
    return [*READMES, *filter(Path.is_file, others), *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """Return the path of a page in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page in these languages, in their order."""
    return [block for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        before = text[: found.start()]
        last = before.rstrip("\n").rpartition("\n")[2]
        yield Block(
            page,
            before.count("\n") + 2,
            found[1],
            found[2],
            is_run=_NOT_RUN.fullmatch(last) is None,
        )


def commands(block: Block) -> list[str]:
    """Return the command lines of a block of shell: continued lines joined, comments left out."""
    joined = block.code.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]
