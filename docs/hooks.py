"""Pages of the site that are made of the code, or of files outside `docs/`.

mkdocs runs this file (see `mkdocs.yml`). A page asks for generated text with a comment of its own
line, ``<!-- generate: command-line -->``; `GENERATORS` has the names. So the reference of the
command line, the lint rules, the metrics and the extras cannot differ from the code.
"""

import argparse
import importlib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lanner
from lanner.commands import parser
from lanner.monitoring.families import RUNTIME, Family
from lanner.service.metrics.families import SERVICE
from lanner.service.metrics.tei_names import FAMILIES as TEI

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
#: Files outside `docs/` that are pages of the site, and their places there.
MIRRORED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "export/examples/README.md": "tutorials/examples.md",
}
RESULTS = ROOT / "perf" / "results"
#: The width of a usage line; argparse would take that of the terminal.
_COLUMNS = "88"
_MARKER = re.compile(r"^<!-- generate: ([a-z-]+) -->$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


def command_line() -> str:
    """Return the reference of every installed command, from its argparse parser."""
    (commands,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _COLUMNS
    try:
        return "\n\n".join(
            _command(name, found) for name, found in sorted(commands.choices.items())
        )
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def lint_rules() -> str:
    """Return a table of the rules that `lanner repository --check` applies."""
    rules = {rule.name: rule for module in _lint_modules() for rule in _rules_of(module)}
    rows = [
        f'| <span id="{rule.name}">`{rule.name}`</span> | {rule.severity} | {_cell(rule.why)} |'
        for _, rule in sorted(rules.items())
    ]
    return "\n".join(["| rule | severity | why |", "|---|---|---|", *rows])


def extras() -> str:
    """Return a table of the extras of the distribution, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = [
        f"| `lanner[{name}]` | {', '.join(f'`{requirement}`' for requirement in requirements)} |"
        for name, requirements in project["optional-dependencies"].items()
    ]
    return "\n".join(["| extra | installs |", "|---|---|", *rows])


def metrics(families: Iterable[Family]) -> str:
    """Return a table of families of metrics."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} "
        f"| {_cell(one.meaning)} |"
        for one in families
    ]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])


#: What a page may ask for.
GENERATORS: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "lint-rules": lint_rules,
    "extras": extras,
    "service-metrics": partial(metrics, SERVICE),
    "model-metrics": partial(metrics, RUNTIME),
    "tei-metrics": partial(metrics, TEI),
}


def generated(markdown: str) -> str:
    """Return the text of a page with its generated parts filled in.

    Raises:
        KeyError: The page asks for something that `GENERATORS` does not have.
    """
    return _MARKER.sub(lambda found: GENERATORS[found[1]](), markdown)


def mirrored(markdown: str) -> str:
    """Return a file of the repository's root as a page: links out of the site become plain text."""

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        if target.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')})"
        if target in MIRRORED:
            return f"[{text}]({MIRRORED[target]})"
        return text

    return _LINK.sub(link, markdown)


def results_index() -> str:
    """Return the page that lists the recorded results, the newest first."""
    lines = ["# Recorded results", "", "Each is the report of one run, with its plots.", ""]
    for path in sorted(RESULTS.glob("*.md"), reverse=True):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{path.stem}]({path.name}): {title}")
    return "\n".join(lines) + "\n"


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages whose files lie outside `docs/` (an event of mkdocs)."""
    from mkdocs.structure.files import File  # noqa: PLC0415 (the tests need no mkdocs)

    pages: dict[str, Any] = {
        page: {"content": mirrored((ROOT / name).read_text(encoding="utf-8"))}
        for name, page in MIRRORED.items()
    }
    pages["results/index.md"] = {"content": results_index()}
    for path in sorted(RESULTS.iterdir()):
        if path.suffix in (".md", ".png"):
            pages[f"results/{path.name}"] = {"abs_src_path": str(path)}
    for page, source in pages.items():
        files.append(File.generated(config, page, **source))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the generated parts of a page (an event of mkdocs)."""
    return generated(markdown)


def _command(name: str, command: argparse.ArgumentParser) -> str:
    usage = command.format_usage().removeprefix("usage: ")
    rows = [
        f"| {_invocation(action)} | {_cell(_help(command, action))} |"
        for action in command._actions
        if action.help != argparse.SUPPRESS
    ]
    parts = [
        f"## lanner {name}",
        escape(command.description or "", quote=False),
        f"```text\n{usage.rstrip()}\n```",
        "\n".join(["| argument | meaning |", "|---|---|", *rows]),
    ]
    if command.epilog:
        parts.append(f"```text\n{command.epilog.rstrip()}\n```")
    return "\n\n".join(parts)


def _invocation(action: argparse.Action) -> str:
    """Return the option's names and its value, as the help has them."""
    value = action.metavar or ("" if action.choices is None else f"{{{','.join(action.choices)}}}")
    shown = " ".join(value) if isinstance(value, tuple) else value
    names = ", ".join(action.option_strings)
    if not names:
        shown = shown or action.dest
    elif action.nargs != 0:
        shown = shown or action.dest.upper()
    return f"`{f'{names} {shown}'.strip()}`"  # a bar in code does not end the cell


def _help(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    return command._get_formatter()._expand_help(action)


def _cell(text: str) -> str:
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _lint_modules() -> Iterator[Any]:
    """Import the modules that make rules, and only those: some others need a server."""
    package = Path(lanner.__file__).parent
    for path in sorted((package / "triton").rglob("*.py")):
        if " = Rule(" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            yield importlib.import_module(name)


def _rules_of(module: Any) -> Iterator[Any]:
    return (value for value in vars(module).values() if type(value).__name__ == "Rule")
