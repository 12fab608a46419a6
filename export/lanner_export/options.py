"""The options of an export, in one place."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from lanner.artifact.artifact import foreign_files
from lanner.artifact.manifest import file_sha256
from lanner.artifact.quality_budget import QualityBudget
from lanner.errors import OutputExistsError, UnsupportedError, UsageError
from lanner_export import PRECISIONS, SEGMENTERS, SIF_SMOOTHING
from lanner_export.graph.rewriting import require_passes

#: Options in which an export may differ from the one whose search it resumes, with the reasons.
MAY_DIFFER = frozenset(
    {
        # The search compares the traced graph, which represents the checkpoint.
        *("checkpoint", "base", "adapters", "allow_pickle"),
        # The journal is next to its output.
        *("output", "overwrite"),
        # Trials of int8 do not depend on the other variants; a budget's measure is compared, and
        # its bound only decides which trials are made.
        *("precisions", "budget"),
    }
)


@dataclass(frozen=True)
class Options:
    """The options of an export, with the names of `lanner_export.export.export`."""

    checkpoint: str
    output: Path
    head: str
    precisions: Sequence[str]
    calibration: Path | None
    without_passes: Collection[str]
    max_tokens: int | None
    truncate_dim: int | None
    pooling: str | None
    positive_label: str | None
    base: str | None
    adapters: Sequence[str]
    allow_pickle: bool
    keep_layers: int | Sequence[int] | None
    vocabulary_from: Path | None
    segment: str
    sif: Path | None
    sif_smoothing: float
    remove_component: bool
    quality_data: Path | None
    budget: QualityBudget | None
    overwrite: bool

    def identity(self) -> dict[str, str]:
        """Return the options that the trials of a search depend on; of a file, its content.

        A new option is included automatically, unless `MAY_DIFFER` lists it.
        """
        return {
            option.name: _identity_of(getattr(self, option.name))
            for option in fields(self)
            if option.name not in MAY_DIFFER
        }

    def require_consistent(self) -> None:
        """Check everything that can be checked before any file is read.

        Raises:
            UnsupportedError: There is no such precision, pass or segmenter.
            OutputExistsError: The output is taken.
            UsageError: There is no data to measure the budget with, or to weigh words by.
        """
        unknown = [name for name in self.precisions if name not in PRECISIONS]
        if unknown or not self.precisions:
            names = ", ".join(unknown) or "(none)"
            msg = f"unknown precision {names}: use {', '.join(PRECISIONS)}"
            raise UnsupportedError(msg)
        require_passes(self.without_passes)
        self._require_words()
        _require_free(self.output, overwrite=self.overwrite)
        if self.budget is not None:
            _require_int8(self.precisions, self.budget)
            self.budget.require_labels(has_labels=self.quality_data is not None)

    def _require_words(self) -> None:
        if self.segment not in SEGMENTERS:
            msg = f"there is no segmenter {self.segment!r}: use {', '.join(SEGMENTERS)}"
            raise UnsupportedError(msg)
        if not 0 < self.sif_smoothing < math.inf:
            msg = f"--sif-smoothing must be a number above 0, not {self.sif_smoothing}"
            raise UnsupportedError(msg)
        if self.sif is None and (self.remove_component or self.sif_smoothing != SIF_SMOOTHING):
            option = "--remove-component" if self.remove_component else "--sif-smoothing"
            msg = f"{option} needs the texts of --sif FILE: add it, or leave {option} out"
            raise UsageError(msg)


def _identity_of(value: object) -> str:
    if isinstance(value, Path):
        return file_sha256(value)
    return repr(list(value) if isinstance(value, list | tuple) else value)


def _require_int8(precisions: Sequence[str], budget: QualityBudget) -> None:
    if "int8" not in precisions:
        msg = (
            f"the budget {budget.argument} is for int8, which is not among "
            f"{', '.join(precisions)}: add int8 to --precision, or leave --budget out"
        )
        raise UsageError(msg)


def _require_free(target: Path, *, overwrite: bool) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if not target.exists():
        return
    foreign = foreign_files(target)
    if foreign:
        msg = (
            f"{target} exists and holds what is not of a Lanner artifact ({foreign[0]}): "
            "choose another --output"
        )
        raise OutputExistsError(msg)
    if not overwrite:
        msg = f"{target} exists: pass --overwrite to replace it, or choose another --output"
        raise OutputExistsError(msg)
