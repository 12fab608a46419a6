"""A check: a bound and the measured figure. The report shows it; nothing fails because of it.

Both sides of a ratio are measured in turns, round by round. The ratio is the median of the rounds'
ratios, and the lowest and the highest of them are kept.
"""

from dataclasses import asdict, dataclass
from typing import Any

#: The most that a variant may lose against its checkpoint, in points of a correlation x 100.
MOST_LOST_SPEARMAN = 0.2


@dataclass(frozen=True)
class Check:
    """A rule that must hold.

    Attributes:
        what: The rule, for people.
        bound: The bound of `measured`.
        is_least: True if the figure must be at least the bound, False if at most.
        measured: The figure; None if a subject for it is missing.
        rounds: The figure of each round, if there are several.
        missing: The reason why the figure was not measured.
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
        """Return True if the rule holds; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.is_least else self.measured <= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, and ``holds``."""
        return {**asdict(self), "rounds": list(self.rounds), "holds": self.holds}
