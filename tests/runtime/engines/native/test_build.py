"""The build of the distribution lanner-native."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def test_without_build_tools_one_line_says_so_and_all_else_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "build" / "log"
    script = ROOT / "runtime/native/build.sh"
    command = [str(script), str(tmp_path / "no venv"), str(log.parent), "none.txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    expected = f"the native engine is not built: its build tools cannot be installed ({log})\n"
    assert (done.stdout, done.stderr) == (expected, "")


@pytest.mark.slow
def test_a_wheel_of_make_wheels_runs_in_a_bare_environment(tmp_path: Path) -> None:
    found = sorted((ROOT / "build/wheels").glob("lanner_native-*.whl"))
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheel = next((path for path in found if tag in path.name), None)
    if wheel is None:
        pytest.skip("there is no wheel in build/wheels: make wheels")
    assert "manylinux" in wheel.name
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import json, lanner_native as n; print(json.dumps([n.__file__, n.instruction_sets()[-1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    place, last = json.loads(done.stdout)
    assert Path(place) == site / "lanner_native" / "__init__.py"
    assert last == ["plain", True, True, True]
