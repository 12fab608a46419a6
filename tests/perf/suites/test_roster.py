"""Subjects that end in the middle of a suite, and the measurements without them."""

from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")

from lanner_perf.subjects import subject as subjects
from lanner_perf.subjects.subject import Spec, Subject, SubjectError
from lanner_perf.suites.roster import Roster, by_name


def specs(artifact: Path, *names: str) -> list[Spec]:
    return [Spec(name, "lanner", str(artifact), {"variant": "fp32"}) for name in names]


def kill(roster: Roster, name: str) -> None:
    subject = next(subject for subject in roster.present if subject.name == name)
    subject._process.kill()
    subject._process.wait()


def test_who_dies_is_left_out_of_the_suite_alone(word_artifact: Path) -> None:
    with Roster(specs(word_artifact, "first", "second", "third"), 1, lambda _: None) as roster:
        roster.begin("latency")
        rounds: dict[str, list[int]] = {}
        by_name(roster.each(lambda subject: len(subject.latencies_ms(["a"]))), rounds)
        kill(roster, "second")
        by_name(roster.each(lambda subject: len(subject.latencies_ms(["a"]))), rounds)
        assert rounds == {"first": [1, 1], "second": [1], "third": [1, 1]}
        assert [subject.name for subject in roster.present] == ["first", "third"]
        assert roster.left_out == [
            {
                "name": "second",
                "reason": "second ended unexpectedly with status -9: it said nothing",
                "suite": "latency",
            }
        ]
        roster.begin("throughput")
        assert [subject.name for subject in roster.present] == ["first", "second", "third"]
        assert [name for name, _ in roster.each(Subject.memory_mb)] == ["first", "second", "third"]


def test_who_is_not_kept_is_left_out_for_good(word_artifact: Path) -> None:
    with Roster(specs(word_artifact, "first", "second", "third"), 1, lambda _: None) as roster:
        roster.keep({"first", "third"}, "two will do")
        roster.begin("open_loop")
        assert [name for name, _ in roster.each(Subject.memory_mb)] == ["first", "third"]
        assert roster.left_out == [
            {"name": "second", "reason": "two will do", "suite": "concurrency"}
        ]


def test_without_the_reference_there_is_nothing_to_compare_with(word_artifact: Path) -> None:
    with Roster(specs(word_artifact, "first", "second"), 1, lambda _: None) as roster:
        kill(roster, "first")
        with pytest.raises(SubjectError, match=r"^first ended unexpectedly with status -9: it s"):
            list(roster.each(Subject.memory_mb))


def test_what_fails_by_itself_says_why(word_artifact: Path) -> None:
    with Roster(specs(word_artifact, "first", "second"), 1, lambda _: None) as roster:
        roster.begin("throughput")
        bad: list[str] = [3]  # type: ignore[list-item]

        def ask(subject: Subject) -> float:
            return subject.rate(bad if subject.name == "second" else ["a"], 8)

        assert [name for name, _ in roster.each(ask)] == ["first"]
    assert roster.left_out[0]["reason"] == (
        f"second on {word_artifact}: InputTypeError: every text must be a str, but the item at "
        "index 0 is of type int"
    )


def test_processes_end_with_the_roster(word_artifact: Path) -> None:
    with Roster(specs(word_artifact, "first"), 1, lambda _: None) as roster:
        process = roster.reference._process
        assert process.poll() is None
    assert process.poll() == 0


def test_who_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(subjects, "PATIENCE_S", 0.2)
    with pytest.raises(SubjectError, match=r"^a peer gave no answer within 0 s and was ended$"):
        Subject(Spec("a peer", "lanner", "x", python=str(python)), threads=1)


@pytest.mark.parametrize(
    ("python", "environment"),
    [("/x/.venv-peers/bin/python", ".venv-peers"), ("python3", "python3")],
)
def test_an_environment_is_called_by_its_folder(python: str, environment: str) -> None:
    assert Spec("a peer", "lanner", "x", python=python).environment == environment
    assert Spec("ours", "lanner", "x").environment == "harness"
