"""The linter's findings about a model repository, and the rules behind them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

#: An error keeps Triton from loading the model, or from following its configuration; a warning is
#: about a model that is slower, or less safe, than necessary.
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault of a model repository.

    Attributes:
        file: The file or directory with the fault.
        line: The line of the file, from 1; 1 for a directory.
        rule: The name of the rule.
        severity: "error" or "warning".
        problem: The fault.
        why: The reason why that is a fault, with its source.
        remedy: The text to write instead, or the action to take.
    """

    file: Path
    line: int
    rule: str
    severity: Severity
    problem: str
    why: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {**asdict(self), "file": str(self.file)}

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.severity}: {self.problem} [{self.rule}]\n"
            f"    why: {self.why}\n"
            f"    remedy: {self.remedy}"
        )


@dataclass(frozen=True)
class Rule:
    """A lint rule: the common part of all its findings.

    Attributes:
        name: The name of the rule.
        severity: The severity of its findings.
        why: The reason why that is a fault, with its source.
    """

    name: str
    severity: Severity
    why: str

    def at(self, file: Path, line: int, problem: str, remedy: str) -> Finding:
        """Return a finding of this rule."""
        return Finding(file, line, self.name, self.severity, problem, self.why, remedy)
