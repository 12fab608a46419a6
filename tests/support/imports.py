"""The modules that a piece of code imports, found in a process of its own."""

import json
import subprocess
import sys

HEAVY = {"torch", "transformers", "sentence_transformers", "onnx", "scipy", "optimum"}
CLIENTS = {"tritonclient", "grpc", "google", "urllib3"}


def modules_after(code: str, *args: str) -> set[str]:
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program, *args], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
