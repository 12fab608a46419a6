"""The folders of a source root, and the imports between them."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: The folders that each folder imports. A module outside of folders counts as a folder.
Arrows = dict[str, set[str]]


@dataclass(frozen=True)
class SourceRoot:
    """A package, which is read but not imported.

    Attributes:
        path: The directory of the package, for example ``runtime/lanner``.
    """

    path: Path

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Return the file of each module, by its full name."""
        found = {}
        for path in sorted(self.path.rglob("*.py")):
            parts = path.relative_to(self.path.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
        return found

    def folder(self, module: str) -> str:
        """Return the folder of a module, relative to the package; its own name if it has none."""
        path = self.modules[module].relative_to(self.path)
        return path.stem if path.parent == Path() else path.parent.as_posix()

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        """Return the modules of each folder, without its `__init__`."""
        found: dict[str, list[str]] = defaultdict(list)
        for module, path in self.modules.items():
            if path.name != "__init__.py":
                found[self.folder(module)].append(module)
            else:
                found.setdefault(self.folder(module), [])
        return dict(found)

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Return the modules of this package that each module imports, also within functions."""
        found: dict[str, set[str]] = {}
        for module, names in self._names.items():
            own = {name if name in self.modules else name.rpartition(".")[0] for name in names}
            found[module] = own & self.modules.keys() - {module}
        return found

    @cached_property
    def arrows(self) -> Arrows:
        """Return the folders that each folder imports, without itself."""
        found: Arrows = {folder: set() for folder in self.folders}
        for module in self.modules:
            source = self.folder(module)
            found[source] |= {self.folder(name) for name in self.imports[module]} - {source}
        return found

    @cached_property
    def packages(self) -> set[str]:
        """Return the packages that any module imports, this one included."""
        return {name.partition(".")[0] for names in self._names.values() for name in names}

    @cached_property
    def _names(self) -> dict[str, set[str]]:
        return {
            module: set(_imported(ast.parse(path.read_text())))
            for module, path in self.modules.items()
        }

    def circle(self) -> list[str]:
        """Return modules that import each other in a circle; empty if there are none."""
        done: set[str] = set()

        def visit(module: str, above: list[str]) -> list[str]:
            if module in above:
                return [*above[above.index(module) :], module]
            if module in done:
                return []
            for name in sorted(self.imports[module]):
                if found := visit(name, [*above, module]):
                    return found
            done.add(module)
            return []

        return next((found for module in sorted(self.imports) if (found := visit(module, []))), [])


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield every imported dotted name: ``from a.b import c`` gives ``a.b.c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
