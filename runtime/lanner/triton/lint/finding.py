"""The linter's findings about a model repository, and the rules behind them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

#: An error keeps Triton from loading the model, or from doing what its configuration says; a
#: warning is slower, or less safe, than it needs to be.
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault of a model repository.

    Attributes:
        file: The file or directory that it is in.
        line: The line of the file, from 1; of a directory 1.
        rule: The name of the rule.
        severity: How bad it is.
        problem: What is wrong here.
        why: Why that is a fault, and who says so.
        remedy: What to write instead, or to do.
    """

    file: Path
    line: int
    rule: str
    severity: Severity
    problem: str
    why: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**asdict(self), "file": str(self.file)}

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.severity}: {self.problem} [{self.rule}]\n"
            f"    why: {self.why}\n"
            f"    remedy: {self.remedy}"
        )


@dataclass(frozen=True)
class Rule:
    """A lint rule: what all its findings have in common.

    Attributes:
        name: Its name.
        severity: How bad they are.
        why: Why that is a fault, and who says so.
    """

    name: str
    severity: Severity
    why: str

    def at(self, file: Path, line: int, problem: str, remedy: str) -> Finding:
        """A finding of this rule."""
        return Finding(file, line, self.name, self.severity, problem, self.why, remedy)
