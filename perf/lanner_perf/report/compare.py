"""Two results side by side: the figures that became faster or slower, and those within the noise.

The spread of a figure reaches from its lowest to its highest round. A figure has changed if its two
medians differ by more than both spreads together. With three rounds this rule is wrong for one pair
in seventy; the rule that the two ranges do not overlap would be wrong for one in ten.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lanner.commands.console import table
from lanner.errors import InputError
from lanner_perf.record.figures import OF_FLOOR, Figure, figures, is_call_part, ratio
from lanner_perf.report.content import HEADLINE

Report = Mapping[str, Any]
#: The package that may differ between two results, because results of two versions of Lanner are
#: compared to see what the newer one gains.
_OURS = "lanner"
_QUALITY = "quality."


@dataclass(frozen=True)
class Change:
    """One figure of one subject in two results.

    Attributes:
        subject: The name of the subject.
        key: Its key in `lanner_perf.record.figures.figures`.
        label: Its name for people.
        old: Its median in the older result.
        new: Its median in the newer result.
        ratio: New divided by old; None if old is zero.
        lowest: The lowest ratio that the rounds allow.
        highest: The highest ratio that the rounds allow.
        is_better: True if the change is for the better; None without a change.
        has_changed: True if the change exceeds the noise of both; None if a single round leaves the
            noise unknown.
    """

    subject: str
    key: str
    label: str
    old: float
    new: float
    ratio: float | None
    lowest: float | None
    highest: float | None
    is_better: bool | None
    has_changed: bool | None


@dataclass(frozen=True)
class Comparison:
    """Two results side by side.

    Attributes:
        differences: The conditions that differ between the two, for people.
        base: The subject whose figures the others are divided by because conditions differ; empty
            for absolute figures.
        changes: One entry for each figure.
        only_old: The subjects that only the older result has.
        only_new: The subjects that only the newer result has.
    """

    differences: tuple[str, ...]
    base: str
    changes: tuple[Change, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    @property
    def warning(self) -> str:
        """Return a sentence on the conditions that differ; empty if none do."""
        if not self.differences:
            return ""
        return (
            f"the results differ in {', '.join(self.differences)}, so each figure is compared as "
            f"its ratio to {self.base} of the same result"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def worse_than(self, bound: float) -> list[Change]:
        """Return the changes for the worse beyond the noise that keep less than this share."""
        return [
            change
            for change in self.changes
            if change.has_changed and change.is_better is False and _kept(change) < bound
        ]


def compare(old: Report, new: Report) -> Comparison:
    """Compare the figures that both results have of the same subjects.

    Absolute figures are compared if machine, versions (except Lanner's), threads and workloads are
    the same. Otherwise each figure is compared as its ratio to the first subject that both results
    have, measured in the same rounds of its own result.

    Raises:
        InputError: The results have no subject in common.
    """
    rows = [{row["name"]: row for row in report["subjects"]} for report in (old, new)]
    shared = [name for name in rows[0] if name in rows[1]]
    if not shared:
        msg = (
            f"the results have no subject in common: {', '.join(rows[0])} in the older and "
            f"{', '.join(rows[1])} in the newer"
        )
        raise InputError(msg)
    differences = tuple(_differences(old, new))
    found = [{name: _own(of[name]) for name in shared} for of in rows]
    if differences:
        bases = [of[shared[0]] for of in found]
        found = [
            {name: _relative(of[name], base) for name in shared[1:]}
            for of, base in zip(found, bases, strict=True)
        ]
    before, after = found
    return Comparison(
        differences,
        shared[0] if differences else "",
        tuple(
            _change(name, key, before[name][key], after[name][key])
            for name in before
            for key in before[name]
            if key in after[name]
        ),
        tuple(name for name in rows[0] if name not in rows[1]),
        tuple(name for name in rows[1] if name not in rows[0]),
    )


def _differences(old: Report, new: Report) -> Iterator[str]:
    for name in ("cpu", "cpu_flags", "cores", "memory_bytes", "system", "python"):
        if old["machine"].get(name) != new["machine"].get(name):
            yield f"machine ({name})"
    for package in _changed_packages(old, new):
        yield f"version of {package}"
    if old["threads"] != new["threads"]:
        yield f"threads ({old['threads']} and {new['threads']})"
    for name in sorted({*old["workloads"], *new["workloads"]}):
        if old["workloads"].get(name) != new["workloads"].get(name):
            yield f"workload {name}"
    if old["artifact"] != new["artifact"]:
        yield f"artifact ({old['artifact']} and {new['artifact']})"
    for name, what in (("version", "version of Triton"), ("is_here", "where the server is")):
        if old.get("server", {}).get(name) != new.get("server", {}).get(name):
            yield what
    if _models(old) != _models(new):
        yield "models of the server"


def _models(report: Report) -> list[dict[str, Any]]:
    """Return the models of a server without their version numbers."""
    models = report.get("server", {}).get("models", [])
    return [{key: of[key] for key in of if key != "version"} for of in models]


def _changed_packages(old: Report, new: Report) -> list[str]:
    """Return the packages whose versions differ, among those that both results name."""
    environments = [{"": report["versions"], **report["environments"]} for report in (old, new)]
    shared = [name for name in environments[0] if name in environments[1]]
    changed = {
        package
        for name in shared
        for package in environments[0][name].keys() & environments[1][name].keys()
        if environments[0][name][package] != environments[1][name][package]
    }
    return sorted(changed - {_OURS})


def _own(row: Report) -> dict[str, Figure]:
    """Return the figures that measure a subject, without those computed from others."""
    return {
        key: one
        for key, one in figures(row).items()
        if not key.startswith(OF_FLOOR) and not is_call_part(key)
    }


def _relative(row: Mapping[str, Figure], reference: Mapping[str, Figure]) -> dict[str, Figure]:
    """Return every figure divided by the reference's; quality stays as it is."""
    found = dict(row)
    for key, figure in row.items():
        if not key.startswith(_QUALITY):
            part = ratio(figure, reference[key]) if key in reference else None
            if part is None:
                del found[key]
            else:
                found[key] = part
    return found


def _change(subject: str, key: str, old: Figure, new: Figure) -> Change:
    low, high = _range(old)
    lowest, highest = _range(new)
    can_divide = low > 0
    moved = new.median - old.median
    has_changed = None
    if old.spread is not None and new.spread is not None:
        has_changed = abs(moved) > old.spread + new.spread
    return Change(
        subject,
        key,
        new.label,
        old.median,
        new.median,
        new.median / old.median if can_divide else None,
        lowest / high if can_divide else None,
        highest / low if can_divide else None,
        (moved > 0) == new.is_more_better if has_changed else None,
        has_changed,
    )


def _range(figure: Figure) -> tuple[float, float]:
    values = (figure.median, *figure.rounds)
    return min(values), max(values)


def _kept(change: Change) -> float:
    """Return the share of the earlier value that remains."""
    if change.ratio is None or change.ratio <= 0:
        return 1.0
    return min(change.ratio, 1 / change.ratio)


def comparison_text(comparison: Comparison) -> str:
    """Return a table for people: the figures of a report's first table, and all that changed."""
    header = ("subject", "figure", "old", "new", "new/old", "at least", "at most", "")
    shown = [one for one in comparison.changes if one.key in HEADLINE or one.has_changed]
    rows: list[tuple[str, ...]] = [header]
    rows += [
        (
            change.subject,
            change.label,
            f"{change.old:,.4g}",
            f"{change.new:,.4g}",
            *map(_ratio_text, (change.ratio, change.lowest, change.highest)),
            _verdict(change),
        )
        for change in shown
    ]
    parts = [table(rows)]
    if hidden := len(comparison.changes) - len(shown):
        parts.append(f"{hidden:,} other figures did not change beyond the noise.")
    for names, which in ((comparison.only_old, "older"), (comparison.only_new, "newer")):
        if names:
            parts.append(f"Only in the {which} result: {', '.join(names)}.")
    return "\n\n".join(parts)


def _ratio_text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _verdict(change: Change) -> str:
    if change.has_changed is None:
        return "noise unknown"
    if not change.has_changed:
        return ""
    return "better" if change.is_better else "WORSE"
