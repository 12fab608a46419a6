import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanner.commands import main
from lanner.files.staging import staged_directory
from lanner.machine import interruption


@pytest.fixture(autouse=True)
def _interrupt_is_not_ignored() -> Iterator[None]:
    # If these tests run in the background, it would be ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_swallowed_signal_stops_before_the_result_is_known(
    tmp_path: Path, number: signal.Signals, raised: type[BaseException]
) -> None:
    with interruption.handled():
        interruption.check()  # nothing came yet
        with pytest.raises(raised) as caught, staged_directory(tmp_path / "out") as staged:
            (staged / "file").write_text("whole")
            with pytest.raises(raised):  # as a library that drops it
                signal.raise_signal(number)
    assert raised is KeyboardInterrupt or caught.value.args == (128 + number,)
    assert list(tmp_path.iterdir()) == []
    interruption.check()  # it was answered, and the block has forgotten it


def test_an_ignored_interrupt_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruption.handled():
        signal.raise_signal(signal.SIGINT)
        interruption.check()


def test_the_handlers_that_were_there_come_back(word_artifact: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    assert main(["inspect", str(word_artifact), "--json"]) == 0
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_command_may_run_in_another_thread(word_artifact: Path) -> None:
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(main(["inspect", str(word_artifact), "--json"]))
    )
    thread.start()
    thread.join()
    assert statuses == [0]
