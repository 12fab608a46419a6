"""Hashes of the files that the pins of a requirement file may install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")

from lanner.errors import LannerError
from lanner_perf.tools.hashes import fits, hashed_lines, hashes_of, pins_of

ROOT = Path(__file__).parents[3]
REQUIREMENTS = ROOT / "requirements"
#: An environment is installed from the first, and what the first cannot have from the second.
CONSTRAINTS = {
    "hashed.txt": "constraints.txt",
    "hashed-transformers4.txt": "constraints-transformers4.txt",
}
LOCK = """
[[packages]]
name = "numpy"
version = "2.4.6"
sdist = { url = "https://index/numpy-2.4.6.tar.gz", hashes = { sha256 = "03" } }
wheels = [
    { url = "https://i/numpy-2.4.6-cp311-cp311-macosx_11_0_arm64.whl", hashes = { sha256 = "01" } },
    { url = "https://i/numpy-2.4.6-cp311-abi3-manylinux1_x86_64.whl", hashes = { sha256 = "02" } },
]

[[packages]]
name = "typing-extensions"
version = "4.16.0"
wheels = [
    { name = "typing_extensions-4.16.0-py3-none-any.whl", hashes = { sha256 = "04" } },
]
"""
PINS = """\
# Two of them.
numpy==2.4.6; python_version < "3.14"
torch==2.13.0
typing_extensions==4.16.0 \\
    --hash=sha256:00
"""


def test_each_pin_gets_the_hashes_of_its_files() -> None:
    lines = list(hashed_lines(PINS, hashes_of(tomllib.loads(LOCK)), {"torch"}))
    assert "\n".join(lines) == (
        "# Two of them.\n"
        'numpy==2.4.6; python_version < "3.14" \\\n'
        "    --hash=sha256:02 \\\n"
        "    --hash=sha256:03\n"
        "typing_extensions==4.16.0 \\\n"
        "    --hash=sha256:04"
    )
    assert list(pins_of("\n".join(lines))) == [
        ("numpy", "2.4.6"),
        ("typing-extensions", "4.16.0"),
    ]


def test_a_pin_without_a_file_is_named() -> None:
    with pytest.raises(
        LannerError, match=r"^torch 2\.13\.0 has no file for Python 3\.11 to 3\.13$"
    ):
        list(hashed_lines(PINS, hashes_of(tomllib.loads(LOCK))))


@pytest.mark.parametrize(
    ("name", "is_installed"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", True),
        ("a-1-cp38-abi3-manylinux_2_28_x86_64.whl", True),
        ("a-1-py3-none-manylinux1_x86_64.whl", True),
        ("a-1-cp314-abi3-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp313-cp313t-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp310-cp310-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_28_ppc64le.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
        ("a-1-pp311-pypy311_pp73-manylinux_2_28_x86_64.whl", False),
        ("a-1.tar.gz", False),
    ],
)
def test_wheels_of_our_platforms(name: str, is_installed: bool) -> None:
    assert fits(name) == is_installed


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_the_hashes_are_of_the_constraints(name: str) -> None:
    constraints = dict(pins_of((REQUIREMENTS / CONSTRAINTS[name]).read_text()))
    assert constraints.pop("torch")
    assert dict(pins_of((REQUIREMENTS / name).read_text())) == constraints


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in [*REQUIREMENTS.glob("*.txt"), *REQUIREMENTS.glob("clients/*.txt")]
        if path.name not in CONSTRAINTS.values()
    ),
    ids=lambda path: path.stem,
)
def test_every_pin_that_is_installed_has_hashes(path: Path) -> None:
    text = path.read_text()
    pins = re.findall(r"^[^#\s].*", text, re.MULTILINE)
    assert len(pins) == len(dict(pins_of(text)))
    assert all(pin.endswith(" \\") for pin in pins)
    assert set(re.findall(r"^    (.*?)(?: \\)?$", text, re.MULTILINE)) == set(
        re.findall(r"--hash=sha256:[0-9a-f]{64}", text)
    )


def test_without_uv_it_is_named(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("numpy==2.4.6\n")
    command = [sys.executable, "-m", "lanner_perf.tools.hashes", str(pins), "--uv", "/nowhere/uv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lanner_perf.tools.hashes: error: uv cannot be started (")
    assert pins.read_text() == "numpy==2.4.6\n"
