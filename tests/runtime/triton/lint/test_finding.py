from pathlib import Path

from lanner.triton.lint.finding import Finding, Rule

FINDING = Finding(
    Path("repository/minilm/config.pbtxt"),
    3,
    "queue",
    "warning",
    "it is full",
    "requests wait",
    "max_queue_size: 8",
)


def test_a_finding_reads_as_place_problem_why_and_remedy() -> None:
    assert str(FINDING) == (
        "repository/minilm/config.pbtxt:3: warning: it is full [queue]\n"
        "    why: requests wait\n"
        "    remedy: max_queue_size: 8"
    )


def test_a_finding_is_plain_json() -> None:
    assert FINDING.to_json() == {
        "file": "repository/minilm/config.pbtxt",
        "line": 3,
        "rule": "queue",
        "severity": "warning",
        "problem": "it is full",
        "why": "requests wait",
        "remedy": "max_queue_size: 8",
    }


def test_a_rule_makes_findings_of_its_kind() -> None:
    rule = Rule("queue", "warning", "requests wait")
    assert rule.at(FINDING.file, 3, "it is full", "max_queue_size: 8") == FINDING
