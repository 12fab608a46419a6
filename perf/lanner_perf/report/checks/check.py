"""A check: a bound, and the measured figure. Nothing fails by it: the report shows it.

Both sides of a ratio were measured round by round, one after the other. So it is the median of the
rounds' ratios, beside the lowest and the highest of them.
"""

from dataclasses import asdict, dataclass
from typing import Any

#: The most that a variant may lose against its checkpoint, in points of a correlation x100.
MOST_LOST_SPEARMAN = 0.2


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        what: The rule, for people.
        bound: The bound of `measured`.
        is_least: True if it must be at least the bound, False if at most.
        measured: The figure; None where a subject is missing.
        rounds: The figure of each round, if there are several.
        missing: The figure that was not measured.
        of: The subjects of the figure, if known.
    """

    what: str
    bound: float
    is_least: bool
    measured: float | None = None
    rounds: tuple[float, ...] = ()
    missing: str = ""
    of: str = ""

    @property
    def holds(self) -> bool | None:
        """None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.is_least else self.measured <= self.bound

    def to_json(self) -> dict[str, Any]:
        """The fields, and whether it holds."""
        return {**asdict(self), "rounds": list(self.rounds), "holds": self.holds}
