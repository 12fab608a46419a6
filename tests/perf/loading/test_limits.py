import subprocess
import sys

import pytest


def test_sessions_are_bounded() -> None:
    pytest.importorskip("onnxruntime", reason="needs lanner-bench")
    code = (
        "from lanner_perf.loading.limits import bound_sessions; bound_sessions(3)\n"
        "from onnxruntime import SessionOptions\n"
        "made = SessionOptions()\n"
        "print(made.intra_op_num_threads, made.inter_op_num_threads)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3 1"
