"""The committed part of the demo artifact's model repository, which stands in triton_models/.

    python -m lanner_perf.tools.triton_models build/minilm.lanner --output triton_models

Files that people read and change are committed. Weights, tokenizers and files for clients are not;
`lanner repository` makes them.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lanner.errors import LannerError
from lanner.triton.contract.model_code import MODEL_FILE
from lanner.triton.contract.model_config import CONFIG_FILE
from lanner.triton.repository.write import write_repository

#: The section of a config.pbtxt that begins with this text carries a manifest and a tokenizer.
CARRIED = "\n# For clients, "
VARIANT = "int8"


def committed_files(artifact: Path, work: Path) -> dict[str, bytes]:
    """Return the committed files of the artifact's repository, by their path in it.

    Args:
        artifact: The demo's artifact.
        work: An empty directory for the whole repository.
    """
    write_repository([artifact], work, variant=VARIANT, names=["minilm"])
    files = {}
    for path in sorted(work.rglob("*")):
        if path.name == CONFIG_FILE:
            text = path.read_text(encoding="utf-8").partition(CARRIED)[0]
            files[str(path.relative_to(work))] = text.encode()
        elif path.name == MODEL_FILE or path.parent.name == "warmup":
            files[str(path.relative_to(work))] = path.read_bytes()
    return files


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", metavar="DIR", type=Path)
    parser.add_argument("--output", metavar="DIR", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        with TemporaryDirectory() as work:
            files = committed_files(args.artifact, Path(work))
    except LannerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for name, content in files.items():
        path = args.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
