"""The folders of a source root, and which of them import which."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: By folder, the folders that it imports. A module that stands in no folder is one by itself.
Arrows = dict[str, set[str]]


@dataclass(frozen=True)
class SourceRoot:
    """One package, read but not imported.

    Attributes:
        path: The directory of the package, for example ``runtime/lanner``.
    """

    path: Path

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The file of each module, by its full name."""
        found = {}
        for path in sorted(self.path.rglob("*.py")):
            parts = path.relative_to(self.path.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
        return found

    def folder(self, module: str) -> str:
        """The folder of a module, from the package on; a module in no folder is one by itself."""
        path = self.modules[module].relative_to(self.path)
        return path.stem if path.parent == Path() else path.parent.as_posix()

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        """The modules of each folder, its `__init__` aside."""
        found: dict[str, list[str]] = defaultdict(list)
        for module, path in self.modules.items():
            if path.name != "__init__.py":
                found[self.folder(module)].append(module)
            else:
                found.setdefault(self.folder(module), [])
        return dict(found)

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """The modules of this package that each module imports, also within functions."""
        found: dict[str, set[str]] = {}
        for module, names in self._names.items():
            own = {name if name in self.modules else name.rpartition(".")[0] for name in names}
            found[module] = own & self.modules.keys() - {module}
        return found

    @cached_property
    def arrows(self) -> Arrows:
        """The folders that each folder imports, itself aside."""
        found: Arrows = {folder: set() for folder in self.folders}
        for module in self.modules:
            source = self.folder(module)
            found[source] |= {self.folder(name) for name in self.imports[module]} - {source}
        return found

    @cached_property
    def packages(self) -> set[str]:
        """The packages that any module imports, this one included."""
        return {name.partition(".")[0] for names in self._names.values() for name in names}

    @cached_property
    def _names(self) -> dict[str, set[str]]:
        return {
            module: set(_imported(ast.parse(path.read_text())))
            for module, path in self.modules.items()
        }

    def circle(self) -> list[str]:
        """Modules that import each other in a circle, or nothing."""
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
    """Every dotted name that is imported: ``from a.b import c`` gives ``a.b.c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
