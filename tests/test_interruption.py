import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanner import interruption
from lanner.staging import staged_directory


@pytest.fixture
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Where these tests run in the background, an interrupt is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interruption.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interruption._received = None


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_swallowed_signal_stops_before_the_result_is_known(
    tmp_path: Path, number: signal.Signals, raised: type[BaseException]
) -> None:
    interruption.check()  # nothing came yet
    with pytest.raises(raised) as caught, staged_directory(tmp_path / "out") as staged:
        (staged / "file").write_text("whole")
        with pytest.raises(raised):  # as a library that drops it
            signal.raise_signal(number)
    assert raised is KeyboardInterrupt or caught.value.args == (128 + number,)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_handlers")
def test_an_ignored_interrupt_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption.install()
    signal.raise_signal(signal.SIGINT)
    interruption.check()


@pytest.mark.usefixtures("_handlers")
def test_a_new_command_forgets_the_signal_of_the_last() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    interruption.install()
    interruption.check()
