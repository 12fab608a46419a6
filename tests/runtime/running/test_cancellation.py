from lanner.running.cancellation import Cancellation


def test_listeners_are_told_once_and_late_ones_at_once() -> None:
    cancellation = Cancellation()
    told: list[str] = []
    cancellation.on_cancel(lambda: told.append("early"))
    assert told == []
    cancellation.cancel()
    cancellation.cancel()
    assert told == ["early"]
    cancellation.on_cancel(lambda: told.append("late"))
    assert told == ["early", "late"]
