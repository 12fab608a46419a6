"""Which products of int8 stay in float32, so that a quality budget is met.

First what each group of products costs in quality is measured, with it alone in int8. Then as few
as possible of those that lose most for their size stay in float32: their number is found by
bisection, and what was kept in vain is given back one by one. Every trial is remembered in a file,
so that a search that was stopped goes on where it was.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from lanner import interruption
from lanner._version import __version__
from lanner.errors import BudgetError
from lanner.machine import package_versions
from lanner.manifest import file_sha256
from lanner.model import Model
from lanner_export.budget import Budget
from lanner_export.measures import Measure
from lanner_export.parity import answers
from lanner_export.quantization import Product
from lanner_export.variants import Int8

#: Trials of the whole measure. With 24 groups, bisection takes 6, and giving back the others.
MOST_TRIALS = 24
#: Inputs that a group's loss is measured on: losses differ by factors, which so many show.
_LOSS_INPUTS = 96
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Group:
    """Products that take the same activation: it is quantized for all of them, or for none."""

    products: tuple[Product, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(product.name for product in self.products)

    @property
    def size(self) -> int:
        """Elements of their weights, as much as they cost for a token."""
        return sum(product.size for product in self.products)


def groups(products: Sequence[Product]) -> list[Group]:
    """The products in groups of one activation, in the order in which they run."""
    return [Group(tuple(group)) for _, group in groupby(products, key=lambda item: item.activation)]


@dataclass
class Search:
    """A search for one checkpoint, budget and data.

    Attributes:
        int8: The calibrated graph.
        budget: What is to be met.
        measure: What the budget is measured by.
        fp32: The float32 variant, which losses are measured against.
        open_trial: Loads a trial's file in the runtime.
        journal: Where trials are remembered; gone when the search has ended.
        progress: Called when a trial begins.
        most_trials: Trials of the whole measure.
    """

    int8: Int8
    budget: Budget
    measure: Measure
    fp32: Model
    open_trial: Callable[[Path], Model]
    journal: Path
    progress: Callable[[str], object]
    most_trials: int = MOST_TRIALS
    _known: dict[str, float] = field(default_factory=dict, init=False)
    _trials: int = field(default=0, init=False)

    def run(self) -> list[str]:
        """Searches.

        Returns:
            Names of the products that stay in float32, in the order in which they run.

        Raises:
            BudgetError: Not even int8 with one group quantized is within the budget, or the trials
                were not enough to find one that is.
        """
        self._recall()
        all_groups = groups(self.int8.products)
        try:
            kept = self._find(all_groups)
        except BudgetError:
            self.journal.unlink(missing_ok=True)
            raise
        self.journal.unlink(missing_ok=True)
        return [name for group in all_groups if group in kept for name in group.names]

    def _find(self, all_groups: list[Group]) -> list[Group]:
        if self._meets([]):
            return []
        worst_first = self._by_loss(all_groups)
        best = len(worst_first) - 1
        if best < 1 or not self._meets(worst_first[:best]):
            raise BudgetError(self._failure(worst_first[:best]))
        too_few = 0
        while best - too_few > 1 and self._trials < self.most_trials:
            middle = (best + too_few) // 2
            if self._meets(worst_first[:middle]):
                best = middle
            else:
                too_few = middle
        kept = worst_first[:best]
        # Bisection takes all that lose more than the last one; some of them matter to no one.
        for group in reversed(kept[:-1]):
            if self._trials >= self.most_trials:
                break
            fewer = [item for item in kept if item is not group]
            if self._meets(fewer):
                kept = fewer
        return kept

    def _by_loss(self, all_groups: list[Group]) -> list[Group]:
        inputs = self.measure.inputs[:: max(1, len(self.measure.inputs) // _LOSS_INPUTS)]
        inputs = inputs[:_LOSS_INPUTS]
        expected = np.concatenate(
            [np.ravel(row) for row in answers(self.fp32, inputs, batch_size=_BATCH_SIZE)]
        )

        def loss(model: Model) -> float:
            found = answers(model, inputs, batch_size=_BATCH_SIZE)
            return float(np.linalg.norm(np.concatenate([np.ravel(r) for r in found]) - expected))

        losses: dict[tuple[str, ...], float] = {}
        for number, group in enumerate(all_groups, 1):
            self.progress(
                f"int8 search: what {group.names[0]} loses ({number} of {len(all_groups)})"
            )
            others = [item for item in all_groups if item is not group]
            losses[group.names] = self._tried("loss", others, loss)
        return sorted(all_groups, key=lambda group: -losses[group.names] / group.size)

    def _meets(self, kept: Collection[Group]) -> bool:
        number = len([name for group in kept for name in group.names])
        self.progress(
            f"int8 search: {self.budget.measure} with {number} of {len(self.int8.products)} "
            f"products in float32 (trial {self._trials + 1} of at most {self.most_trials})"
        )
        self._trials += 1
        return self.budget.is_met(self._reference_value(), self._value(kept))

    def _value(self, kept: Collection[Group]) -> float:
        return self._tried("value", kept, lambda model: self.measure.of_model(model).value)

    def _reference_value(self) -> float:
        return self.measure.of_checkpoint().value

    def _tried(
        self, what: str, kept: Collection[Group], measure: Callable[[Model], float]
    ) -> float:
        names = sorted(name for group in kept for name in group.names)
        key = json.dumps([what, names])
        if key not in self._known:
            interruption.check()
            trial = self.int8.source.with_name("trial.onnx")
            self.int8.write(trial, names)
            try:
                self._known[key] = measure(self.open_trial(trial))
            finally:
                trial.unlink()
            self._remember({"trial": key, "value": self._known[key]})
        return self._known[key]

    def _failure(self, kept: Collection[Group]) -> str:
        number = len([name for group in kept for name in group.names])
        reached = self._value(kept)
        of = f" (the checkpoint: {self._reference_value():.3f})" if self.budget.needs_labels else ""
        return (
            f"int8 does not meet the budget, {self.budget}: the best it reached is "
            f"{self.budget.measure} {reached:.5g}{of}, with {number} of "
            f"{len(self.int8.products)} products in float32; ask for less, give other "
            "--calibration texts, or export --precision fp32 alone. Nothing was written"
        )

    def _recall(self) -> None:
        """Takes up the trials of a search for the same, or begins anew."""
        identity = self._identity()
        lines = self._whole_lines()
        is_same = bool(lines) and lines[0] == identity
        if is_same:
            self._known = {line["trial"]: line["value"] for line in lines[1:]}
            self.progress(f"int8 search: goes on with {len(self._known)} trials of an earlier run")
        text = "".join(json.dumps(line) + "\n" for line in (lines if is_same else [identity]))
        self.journal.write_text(text, "utf-8")

    def _whole_lines(self) -> list[Mapping[str, Any]]:
        # The last line of a search that was killed may be half a line.
        lines: list[Mapping[str, Any]] = []
        with suppress(OSError, ValueError):
            lines.extend(map(json.loads, self.journal.read_text("utf-8").splitlines()))
        return lines

    def _remember(self, line: Mapping[str, Any]) -> None:
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _identity(self) -> dict[str, Any]:
        """What trials depend on: another graph, range, text or version makes other values."""
        inputs = json.dumps([self.measure.name, list(self.measure.inputs)])
        ranges = json.dumps({name: list(found) for name, found in self.int8.ranges.items()})
        return {
            "graph": file_sha256(self.int8.source),
            "ranges": sha256(ranges.encode()).hexdigest(),
            "inputs": sha256(inputs.encode()).hexdigest(),
            "versions": {"lanner": __version__, **package_versions("onnxruntime", "numpy")},
        }
