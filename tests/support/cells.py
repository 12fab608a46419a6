"""Artifacts of the cells of the support table, exported once in a test run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from tests.support.architectures import CLASS_OF_HEAD, MATRIX, PRECISIONS, config_of
from tests.support.checkpoints import plain_checkpoint

from lanner.artifact.artifact import Artifact

ARTIFACT, CHECKPOINT, WARNINGS = "out.lanner", "checkpoint", "warnings.json"


class Cell(NamedTuple):
    """An exported architecture with a head.

    Attributes:
        artifact: The artifact at every precision. Do not change it.
        checkpoint: The checkpoint that it was made from.
        warnings: The warnings of the export.
    """

    artifact: Artifact
    checkpoint: Path
    warnings: list[str]

    @classmethod
    def open(cls, directory: Path) -> "Cell":
        """Open a cell that `export_cell` wrote."""
        warnings: list[str] = json.loads((directory / WARNINGS).read_text(encoding="utf-8"))
        return cls(Artifact.open(directory / ARTIFACT), directory / CHECKPOINT, warnings)


class MakeCell(Protocol):
    """Returns a cell, and exports it first if this test run has not done so."""

    def __call__(self, name: str, head: str) -> Cell:
        """Return the cell of an architecture and a head."""


def require_known(name: str) -> None:
    """Skip a test of an architecture that this generation of transformers lacks."""
    import transformers  # noqa: PLC0415

    if MATRIX[name].since == "5" and transformers.__version__.startswith("4."):
        pytest.skip(f"transformers {transformers.__version__} does not carry {name}")


def export_cell(
    name: str, head: str, directory: Path, *, precisions: Sequence[str] = PRECISIONS
) -> None:
    """Export the tiny random checkpoint of a cell."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    from lanner_export.export import export  # noqa: PLC0415

    row = MATRIX[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{row.prefix}Config")(**config_of(name, head))
    model: Any = getattr(transformers, row.prefix + CLASS_OF_HEAD[head][0])(config).eval()
    checkpoint = plain_checkpoint(directory / CHECKPOINT, model, row.tokenizer())
    warnings: list[str] = []
    # Their checkpoints are encoders, too.
    named = head if head in ("sparse", "tokens") else "auto"
    export(
        checkpoint,
        directory / ARTIFACT,
        head=named,
        precisions=precisions,
        warn=warnings.append,
    )
    (directory / WARNINGS).write_text(json.dumps(warnings), encoding="utf-8")
