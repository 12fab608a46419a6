"""One thing that must hold, with what was measured. Nothing fails by it: the report says it.

Both sides of a ratio were measured round by round, one after the other. So it is the median of the
rounds' ratios, beside the lowest and the highest of them.
"""

from dataclasses import asdict, dataclass
from typing import Any

#: What a variant may lose against its checkpoint, of a correlation x100.
MOST_LOST_SPEARMAN = 0.2


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        what: The rule, for people.
        bound: What `measured` is compared with.
        is_least: Whether it must be at least the bound, or else at most.
        measured: The figure; None where a subject is missing.
        rounds: The figure of each round, where there are several.
        missing: What was not measured.
        of: Which subjects the figure is of, where that was found out.
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
