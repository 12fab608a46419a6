"""The table of what may import what.

Each line is a folder and the folders that it imports. The lines stand bottom up: a folder imports
those above it in the table and no other, so no circle can form. Read the runtime's as a sentence:
errors, machine and vectors carry the artifact, that carries texts and engines, those what runs,
what answers, files, loading, and at the top tuning, Triton, the service and the commands.
"""

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.layers import SourceRoot

MOST_MODULES, MOST_LINES = 15, 400
REPOSITORY = Path(__file__).parents[1]

RUNTIME = {
    "errors": "",
    "_version": "",
    "monitoring": "errors",
    "machine": "errors",
    "vectors": "errors",
    "artifact": "errors",
    "text": "errors artifact",
    "engines/tensorrt": "errors machine artifact",
    "engines/onnx": "",
    "engines/native": "errors machine engines/onnx",
    "engines": "errors machine artifact engines/tensorrt engines/onnx engines/native",
    "running": "errors monitoring artifact text engines",
    "models": "errors vectors artifact text running",
    "retrieval": "errors artifact models",
    "files": "errors machine vectors artifact models",
    "loading": "errors _version machine vectors artifact text engines/tensorrt engines running "
    "models files",
    "tune": "errors artifact text engines models files loading",
    "triton/contract": "errors artifact files",
    "triton/client": "errors monitoring vectors artifact text running models loading "
    "triton/contract",
    "triton/backend": "errors machine artifact text running models loading triton/contract",
    "triton": "triton/backend",
    "triton/lint": "errors machine artifact engines/onnx engines triton/contract",
    "triton/repository": "errors machine artifact engines/tensorrt engines running files loading "
    "triton/contract triton/lint",
    "triton/server": "errors machine artifact triton/contract triton/client",
    "service/access": "errors machine artifact text files",
    "service/metrics": "errors monitoring",
    "service/core": "errors _version monitoring vectors artifact text running models "
    "triton/contract service/access service/metrics",
    "service/dialects": "errors _version monitoring vectors artifact text running models "
    "triton/contract service/metrics service/core",
    "service": "errors _version monitoring machine artifact engines models files loading "
    "triton/contract triton/client service/access service/metrics service/core service/dialects",
    "integrations": "errors vectors models loading triton/client",
    "distributed": "errors _version machine vectors artifact engines running models files loading "
    "triton/client",
    "words": "errors text running models",
    "commands": "errors _version machine vectors artifact text engines/tensorrt engines/native "
    "engines models files loading tune triton/contract triton/client triton/lint triton/repository "
    "triton/server service/access service distributed words",
    "__init__": "errors _version monitoring vectors artifact text models retrieval loading "
    "triton/client",
    "__main__": "commands",
}
EXPORT = {
    "__init__": "",
    "progress": "",
    "graph": "",
    "texts": "",
    "checkpoint": "graph",
    "trim": "checkpoint",
    "transformer": "graph checkpoint trim",
    "static": "graph checkpoint trim",
    "linear": "graph checkpoint",
    "ways": "checkpoint",
    "loading": "__init__ checkpoint trim transformer static linear ways",
    "quality": "progress texts checkpoint",
    "precision": "progress graph texts checkpoint quality",
    "tensorrt": "graph texts quality precision",
    "options": "__init__ graph",
    "draft": "progress checkpoint quality precision",
    "export": "__init__ progress graph texts checkpoint trim static ways loading quality precision "
    "options draft",
    "command": "__init__ export",
}
PERF = {
    "__init__": "",
    "subjects": "",
    "record": "subjects",
    "loading": "subjects",
    "kinds": "subjects loading",
    "floor": "subjects",
    "peers": "subjects record loading kinds",
    "suites": "subjects record kinds",
    "report/checks": "record peers",
    "report/plots": "record report/checks",
    "report": "subjects record floor suites report/checks report/plots",
    "gpu": "subjects record report/plots report",
    "server": "subjects record kinds peers suites report",
    "bench": "subjects record kinds floor peers suites report/checks report",
    "tools": "subjects record loading peers suites report server bench",
    "elastic": "",
    "elastic/replay": "elastic",
    "plan_command": "report elastic",
    "command": "record report/checks report server bench plan_command",
}
TABLES = {
    "runtime/lanner": RUNTIME,
    "export/lanner_export": EXPORT,
    "perf/lanner_perf": PERF,
}
#: The packages that each root imports of the others.
ROOTS = {
    "runtime/lanner": set[str](),
    "export/lanner_export": {"lanner"},
    "perf/lanner_perf": {"lanner", "lanner_export"},
}

of_tables = pytest.mark.parametrize("root", TABLES)


@cache
def source_root(root: str) -> SourceRoot:
    return SourceRoot(REPOSITORY / root)


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_imports_the_roots_below_it_alone(root: str) -> None:
    packages = {Path(name).name for name in ROOTS} - {Path(root).name}
    assert source_root(root).packages & packages == ROOTS[root]


@of_tables
def test_the_table_has_a_line_for_each_folder(root: str) -> None:
    assert source_root(root).folders.keys() == TABLES[root].keys()


@of_tables
def test_a_module_imports_what_the_table_allows_its_folder(root: str) -> None:
    read, forbidden = source_root(root), []
    for module, names in read.imports.items():
        folder = read.folder(module)
        allowed = {folder, *TABLES[root].get(folder, "").split()}
        forbidden += [
            f"{module} imports {name}" for name in sorted(names) if read.folder(name) not in allowed
        ]
    assert not forbidden, "\n".join(forbidden)


@of_tables
def test_the_table_allows_nothing_that_no_module_imports(root: str) -> None:
    arrows = source_root(root).arrows
    for folder, names in TABLES[root].items():
        unused = set(names.split()) - arrows[folder]
        assert not unused, f"no module of {folder} imports {', '.join(sorted(unused))}"


@of_tables
def test_a_folder_imports_lower_floors_alone(root: str) -> None:
    floors = list(TABLES[root])
    for folder, names in TABLES[root].items():
        upward = [name for name in names.split() if floors.index(name) >= floors.index(folder)]
        assert not upward, f"{folder} imports {upward}, which the table has below it"


@of_tables
def test_the_table_names_the_folders_that_a_line_imports_bottom_up(root: str) -> None:
    floors = list(TABLES[root])
    for folder, names in TABLES[root].items():
        numbers = [floors.index(name) for name in names.split()]
        assert all(low < high for low, high in pairwise(numbers)), folder


@of_tables
def test_no_module_imports_itself_through_others(root: str) -> None:
    assert source_root(root).circle() == []


@of_tables
def test_a_folder_has_at_most_15_modules(root: str) -> None:
    for folder, modules in source_root(root).folders.items():
        assert len(modules) <= MOST_MODULES, f"{folder} has {len(modules)} modules"


@of_tables
def test_a_module_has_at_most_400_lines(root: str) -> None:
    for path in source_root(root).modules.values():
        lines = len(path.read_text().splitlines())
        assert lines <= MOST_LINES, f"{path.relative_to(REPOSITORY)} has {lines} lines"


def test_a_root_is_read_as_its_files_say(tmp_path: Path) -> None:
    root = tmp_path / "house"
    (root / "cellar").mkdir(parents=True)
    (root / "__init__.py").write_text("from house.roof import tile\n")
    (root / "roof.py").write_text("def f():\n    from house.cellar.wine import red\n")
    (root / "cellar" / "__init__.py").write_text("")
    (root / "cellar" / "wine.py").write_text("import json\nimport house.cellar.cork\n")
    (root / "cellar" / "cork.py").write_text("from house.cellar import wine\n")
    read = SourceRoot(root)
    assert read.arrows == {"__init__": {"roof"}, "roof": {"cellar"}, "cellar": set()}
    assert read.folders["cellar"] == ["house.cellar.cork", "house.cellar.wine"]
    assert read.packages == {"house", "json"}
    assert read.circle() == ["house.cellar.wine", "house.cellar.cork", "house.cellar.wine"]
