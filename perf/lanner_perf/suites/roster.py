"""The subjects of a run: those that take part, those that failed, and questions to each in turn."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self, TypeVar

from lanner_perf.record.schema import LeftOut
from lanner_perf.subjects.subject import Spec, Subject, SubjectError

Answer = TypeVar("Answer")
Tell = Callable[[str], object]


class Roster:
    """The running subjects; a context manager that ends their processes.

    A subject that fails in a suite is left out of it, and started again for the next one. If the
    first subject, the reference, fails, nothing is left to compare with, and its error is raised.

    Args:
        specs: The subjects to measure.
        threads: Cores that each may use.
        tell: Called when a step begins.
    """

    def __init__(self, specs: Sequence[Spec], threads: int, tell: Tell) -> None:
        self.tell = tell
        self.threads = threads
        self.left_out: list[LeftOut] = []
        self._specs = list(specs)
        self._running: dict[str, Subject] = {}
        self._suite = ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for spec in list(self._specs):
                self._start(spec, must_start=not spec.is_optional)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def reference(self) -> Subject:
        """Return the subject that the others are compared with."""
        return self._running[self._specs[0].name]

    @property
    def present(self) -> list[Subject]:
        """Return the subjects that take part in the suite, in the order of their specs."""
        return [self._running[s.name] for s in self._specs if s.name in self._running]

    @property
    def specs(self) -> list[Spec]:
        """Return the specs of all subjects that can be started."""
        return list(self._specs)

    def begin(self, suite: str) -> None:
        """Begin a suite; subjects that failed in the last one take part again."""
        self._suite = suite
        for spec in list(self._specs):
            if spec.name not in self._running:
                self._start(spec, must_start=False)

    def keep(self, names: Collection[str], reason: str) -> None:
        """Leave out all other subjects from now on, for this reason."""
        for spec in [spec for spec in self._specs if spec.name not in names]:
            self._specs.remove(spec)
            self.left_out.append({"name": spec.name, "reason": reason, "suite": "concurrency"})
            if (subject := self._running.pop(spec.name, None)) is not None:
                subject.__exit__()

    def each(self, question: Callable[[Subject], Answer]) -> Iterator[tuple[str, Answer]]:
        """Yield each subject's name and answer in turn; a subject that fails leaves the suite."""
        for subject in self.present:
            try:
                answer = question(subject)
            except SubjectError as error:
                self._lose(subject, error)
            else:
                yield subject.name, answer

    def _start(self, spec: Spec, *, must_start: bool) -> None:
        self.tell(f"starting {spec.name}")
        try:
            subject = Subject(spec, self.threads)
        except SubjectError as error:
            if must_start or spec is self._specs[0]:
                raise
            self._specs.remove(spec)
            self._leave_out(spec, error)
        else:
            self._running[spec.name] = self._stack.enter_context(subject)

    def _lose(self, subject: Subject, error: SubjectError) -> None:
        if subject.spec is self._specs[0]:
            raise error
        subject.__exit__()
        del self._running[subject.name]
        self._leave_out(subject.spec, error)

    def _leave_out(self, spec: Spec, error: SubjectError) -> None:
        item: LeftOut = {"name": spec.name, "reason": str(error)}
        if self._suite:
            item["suite"] = self._suite
        self.left_out.append(item)


def by_name(answers: Iterator[tuple[str, Answer]], into: dict[str, list[Any]]) -> None:
    """Add each answer to the list of its subject."""
    for name, answer in answers:
        into.setdefault(name, []).append(answer)
