"""The search for the int8 products that stay in float32 to meet a quality budget.

First the search measures the loss of each group of products, with that group alone in int8. Then
as few as possible of the groups with the highest loss for their size stay in float32: bisection
finds their number, and groups that were kept in vain are quantized again one by one. A file records
every trial, so that a stopped search can be resumed.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import file_sha256
from lanner.artifact.quality_budget import QualityBudget
from lanner.errors import BudgetError, UnsupportedError
from lanner.machine import interruption
from lanner.machine.machine import package_versions
from lanner.models.base import Model
from lanner_export.checkpoint.checkpoint import Checkpoint
from lanner_export.graph.lookup import LookupTable
from lanner_export.graph.model_file import files_of, remove
from lanner_export.precision.journal import Journal
from lanner_export.precision.quantization import Product
from lanner_export.precision.variants import Int8
from lanner_export.quality.measures import Measure, model_answers

#: The most trials of the whole measure. With 24 groups, bisection takes 6, and the rest go to
#: quantizing groups again.
MOST_TRIALS = 24
#: The inputs for measuring a group's loss: enough, since losses differ by factors.
_LOSS_INPUTS = 96


@dataclass(frozen=True)
class Group:
    """Products with the same activation, which is quantized for all of them or for none."""

    products: tuple[Product, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the products."""
        return tuple(product.name for product in self.products)

    @property
    def size(self) -> int:
        """Number of their weights, proportional to their cost per token."""
        return sum(product.size for product in self.products)


def groups(products: Sequence[Product]) -> list[Group]:
    """Group products by activation, in order of execution."""
    by_activation: dict[str, list[Product]] = {}
    for product in products:
        by_activation.setdefault(product.activation, []).append(product)
    return [Group(tuple(group)) for group in by_activation.values()]


@dataclass
class Search:
    """A search for one checkpoint, budget and data.

    Attributes:
        int8: The calibrated graph.
        budget: The budget to meet.
        measure: The measure of the budget.
        fp32: The float32 variant, the baseline of losses.
        open_trial: Loads a trial's file in the runtime.
        journal: The record of trials. It is kept after the search, since the rest of the export may
            be stopped, too.
        progress: Called when a trial begins.
        options: The options of the export that values may depend on.
        most_trials: Trials of the whole measure, at least 2.
    """

    int8: Int8
    budget: QualityBudget
    measure: Measure
    fp32: Model
    open_trial: Callable[[Path], Model]
    journal: Journal
    progress: Callable[[str], object]
    options: Mapping[str, str] = field(default_factory=dict)
    most_trials: int = MOST_TRIALS
    _tried_values: dict[int, float] = field(default_factory=dict, init=False)
    _trials: int = field(default=0, init=False)

    def run(self) -> list[str]:
        """Search for the products to keep in float32.

        Returns:
            Names of the products that stay in float32, in order of execution.

        Raises:
            BudgetError: Even with only the group of the lowest loss for its size in int8, the
                budget is not met.
        """
        self._recall()
        all_groups = groups(self.int8.products)
        try:
            kept = self._find(all_groups)
        except BudgetError:
            self.journal.remove()
            raise
        return [name for group in all_groups if group in kept for name in group.names]

    def _find(self, all_groups: list[Group]) -> list[Group]:
        if self._meets([]):
            return []
        worst_first = self._by_loss(all_groups)
        best = len(worst_first) - 1
        if best < 1 or not self._meets(worst_first[:best]):
            raise BudgetError(self._failure())
        too_few = 0
        while best - too_few > 1 and self._trials < self.most_trials:
            middle = (best + too_few) // 2
            if self._meets(worst_first[:middle]):
                best = middle
            else:
                too_few = middle
        kept = worst_first[:best]
        # Bisection keeps all groups that lose more than the last one; some of them are not needed.
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

        def flat(model: Model) -> NDArray[np.float32]:
            return np.concatenate([np.ravel(row) for row in model_answers(model, inputs)])

        expected = flat(self.fp32)

        def loss(model: Model) -> float:
            lost = flat(model) - expected
            norm = float(np.linalg.norm(lost.astype(np.float64)))
            # An overflow is the highest loss; NaN could not be sorted.
            return norm if math.isfinite(norm) else math.inf

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
        value = self._value(kept)
        self._tried_values[number] = value
        return self.budget.is_met(self._reference_value, value)

    def _value(self, kept: Collection[Group]) -> float:
        return self._tried("value", kept, lambda model: self.measure.of_model(model).value)

    @cached_property
    def _reference_value(self) -> float:
        return self.measure.of_checkpoint().value

    def _tried(
        self, what: str, kept: Collection[Group], measure: Callable[[Model], float]
    ) -> float:
        names = sorted(name for group in kept for name in group.names)
        tried = f"{what} with {', '.join(names) or 'nothing'} in float32"
        value = self.journal.get(tried)
        if value is None:
            interruption.check()
            trial = self.int8.source.with_name("trial.onnx")
            self.int8.write(trial, names)
            try:
                value = measure(self.open_trial(trial))
            finally:
                remove(trial)
            interruption.check()  # a measure that swallowed a signal may be wrong
            self.journal.note(tried, value)
        return value

    def _failure(self) -> str:
        # Keeping more is not always better. NaN is the worst.
        number, reached = max(
            self._tried_values.items(),
            key=lambda item: -math.inf if math.isnan(item[1]) else item[1],
        )
        of = f" (the checkpoint: {self._reference_value:.3f})" if self.budget.needs_labels else ""
        return (
            f"int8 does not meet the budget, {self.budget}: the best it reached is "
            f"{self.budget.measure} {reached:.5g}{of}, with {number} of "
            f"{len(self.int8.products)} products in float32; ask for less, give other "
            "--calibration texts, or export --precision fp32 alone. Nothing was written"
        )

    def _recall(self) -> None:
        if number := self.journal.recall(self._identity()):
            self.progress(f"int8 search: goes on with {number} trials of an earlier run")

    def _identity(self) -> dict[str, Any]:
        """Return all that trials depend on: the checkpoint, the data, the options, the versions."""
        inputs = json.dumps(list(self.measure.inputs))
        ranges = json.dumps({name: list(found) for name, found in self.int8.ranges.items()})
        # The manifest also holds the settings of the tokenizer, and the versions.
        manifest = replace(self.fp32.manifest, name="", created="")
        return {
            "graph": [file_sha256(path) for path in files_of(self.int8.source)],
            "ranges": sha256(ranges.encode()).hexdigest(),
            "manifest": sha256(manifest.to_bytes()).hexdigest(),
            "measure": self.measure.name,
            "inputs": sha256(inputs.encode()).hexdigest(),
            "options": dict(self.options),
            "versions": package_versions("onnxruntime", "numpy"),
        }


def require_products(loaded: Checkpoint, budget: QualityBudget) -> None:
    """Check that a checkpoint has matrix products, some of which could stay in float32.

    Raises:
        UnsupportedError: It is a table of static vectors.
    """
    if isinstance(loaded.graph, LookupTable):
        msg = (
            f"{loaded.source['checkpoint']} holds static vectors, which have no products that "
            f"could stay in float32 for the budget {budget.argument}: leave --budget out, and see "
            "the loss of int8 in the quality card"
        )
        raise UnsupportedError(msg)
