"""The checks of a report: bounds for an artifact, its variants or a model on a server."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lanner_perf.report.checks import peer_checks, server_checks, variant_checks
from lanner_perf.report.checks.check import Check

__all__ = ["Check", "checks_of", "forms_of", "note_of"]

Report = Mapping[str, Any]
#: The most minutes of a whole run, and of a quick one.
MOST_MINUTES, MOST_QUICK_MINUTES = 25, 3


def checks_of(report: Report) -> list[Check]:
    """Return the checks of a report of `lanner bench`, whose first subject is the reference."""
    if "server" in report:
        found = server_checks.server_checks(report)
    else:
        found = [*peer_checks.peer_checks(report), *variant_checks.variant_checks(report)]
    return [*found, _time_check(report)]


def forms_of(report: Report) -> Mapping[str, str]:
    """Return the format of each check's figure that a page begins with, by the check's rule."""
    return server_checks.FORMS if "server" in report else peer_checks.FORMS


def note_of(report: Report) -> str:
    """Return a sentence that explains the checks."""
    return server_checks.NOTE if "server" in report else peer_checks.NOTE


def _time_check(report: Report) -> Check:
    most = MOST_QUICK_MINUTES if report["is_quick"] else MOST_MINUTES
    check = Check("minutes for the whole report", most, is_least=False)
    if not report["is_whole"]:
        return replace(check, missing="only some suites or peers were asked for")
    return replace(check, measured=report["whole_s"] / 60)
