import subprocess
import sys

from lanner_perf.loading.loaded import PACKAGES


def output_of(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_libraries_read_is_set_before_they_do() -> None:
    code = (
        "import os; from lanner_perf.loading.loaded import Start\n"
        "Start({'cache': 'here'}, 3)\n"
        "print(*(os.environ[n] for n in ('OMP_NUM_THREADS', 'HF_HUB_OFFLINE', 'HF_HOME')))"
    )
    assert output_of(code) == "3 1 here"


def test_a_report_names_what_the_peers_environments_are_made_with() -> None:
    assert {"light-embed", "infinity-emb", "torch", "lanner"} <= set(PACKAGES)
    assert sorted(set(PACKAGES)) == list(PACKAGES)
