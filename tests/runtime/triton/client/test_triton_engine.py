import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import (
    DeadlineError,
    EngineError,
    InputError,
    LannerError,
    ModelChangedError,
    ModelUnavailableError,
    Overloaded,
    ServerUnavailableError,
)
from lanner.triton.client.transport import ServerAnswer
from lanner.triton.client.triton_engine import TritonEngine
from lanner.triton.contract.served_model import ServedModel

NAME = "sentence_embedding"
IDS = {"input_ids": np.array([[5, 6], [7, 8], [9, 1]]), "attention_mask": np.ones((3, 2), np.int64)}


class FirstOfEachRow:
    """A transport that raises the given errors, and then answers with each row's first token."""

    def __init__(self, *errors: LannerError, version: str = "1", dtype: Any = np.float32) -> None:
        self.errors = list(errors)
        self.version, self.dtype = version, dtype
        self.requests: list[dict[str, Any]] = []
        self.options: list[tuple[str, str, tuple[str, ...], float | None, int]] = []

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        *,
        timeout_s: float | None,
        priority: int,
    ) -> ServerAnswer:
        self.requests.append({name: tensor.tolist() for name, tensor in inputs.items()})
        self.options.append((model, version, outputs, timeout_s, priority))
        if self.errors:
            raise self.errors.pop(0)
        first = next(iter(inputs.values()))[:, :1]
        return ServerAnswer(dict.fromkeys(outputs, first.astype(self.dtype)), self.version)

    def config(self, model: str, version: str) -> dict[str, Any]:
        raise NotImplementedError

    def versions(self, model: str) -> list[str]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waiting times, each the longest that chance allows; the tests do not wait."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    return waited


def engine(
    transport: FirstOfEachRow,
    parameters: dict[str, str] | None = None,
    *,
    max_batch_size: int = 8,
    **options: Any,
) -> TritonEngine:
    served = ServedModel("minilm", "1", parameters or {}, max_batch_size)
    return TritonEngine(transport, served, output=NAME, **options)


def away() -> ServerUnavailableError:
    return ServerUnavailableError("no server")


def test_a_batch_is_a_request() -> None:
    transport = FirstOfEachRow()
    output = engine(transport).run(IDS)
    assert output.dtype == np.float32
    assert output.tolist() == [[5], [7], [9]]
    assert transport.requests == [{name: tensor.tolist() for name, tensor in IDS.items()}]
    assert transport.options == [("minilm", "", (NAME,), None, 0)]


def test_what_is_asked_for_is_sent() -> None:
    transport = FirstOfEachRow(version="1")
    engine(transport, version="1", priority=2).run(IDS)
    assert transport.options == [("minilm", "1", (NAME,), None, 2)]


def test_batches_are_filled_up_to_a_bucket() -> None:
    transport = FirstOfEachRow()
    engine(transport, {"lanner_buckets": "1,3"}).run(IDS)
    assert transport.requests == [
        {
            "input_ids": [[5, 6, 0], [7, 8, 0], [9, 1, 0]],
            "attention_mask": [[1, 1, 0], [1, 1, 0], [1, 1, 0]],
        }
    ]


def test_texts_are_not_filled_up() -> None:
    transport = FirstOfEachRow()
    parameters = {"lanner_input": "text", "lanner_buckets": "2"}
    engine(transport, parameters).run({"text": np.array([[1], [2]], np.object_)})
    assert transport.requests == [{"text": [[1], [2]]}]


@pytest.mark.parametrize(
    ("max_batch_size", "sizes"), [(0, [3]), (1, [1, 1, 1]), (2, [2, 1]), (3, [3]), (4, [3])]
)
def test_no_request_is_larger_than_the_server_takes(max_batch_size: int, sizes: list[int]) -> None:
    transport = FirstOfEachRow()
    output = engine(transport, max_batch_size=max_batch_size).run(IDS)
    assert output.tolist() == [[5], [7], [9]]
    assert [len(request["attention_mask"]) for request in transport.requests] == sizes


@pytest.mark.parametrize("error", [away(), ModelUnavailableError("not ready")])
def test_what_is_away_may_come_back(waits: list[float], error: LannerError) -> None:
    transport = FirstOfEachRow(error, away(), away())
    assert engine(transport).run(IDS).tolist() == [[5], [7], [9]]
    assert len(transport.requests) == 4
    assert waits == [0.1, 0.2, 0.4]


def test_waiting_times_grow_to_two_seconds(waits: list[float]) -> None:
    engine(FirstOfEachRow(*[away() for _ in range(8)]), retries=8).run(IDS)
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2])


def test_waiting_times_are_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    for _ in range(50):
        engine(FirstOfEachRow(away())).run(IDS)
    assert len(set(waits)) > 40
    assert all(0.05 <= wait <= 0.1 for wait in waits)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_come_to_an_end(waits: list[float], retries: int) -> None:
    transport = FirstOfEachRow(*[away() for _ in range(9)])
    with pytest.raises(ServerUnavailableError, match=r"^no server$"):
        engine(transport, retries=retries).run(IDS)
    assert len(transport.requests) == 1 + retries
    assert len(waits) == retries


def test_less_than_no_retry_is_refused() -> None:
    with pytest.raises(InputError, match=r"^retries must be at least 0, not -1$"):
        engine(FirstOfEachRow(), retries=-1)


@pytest.mark.parametrize("kind", [Overloaded, DeadlineError, InputError, EngineError])
def test_other_refusals_are_final(waits: list[float], kind: type[LannerError]) -> None:
    transport = FirstOfEachRow(kind("no"))
    with pytest.raises(kind, match=r"^no$"):
        engine(transport).run(IDS)
    assert (len(transport.requests), waits) == (1, [])


def test_the_time_that_is_left_goes_with_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    transport = FirstOfEachRow()
    engine(transport).run(IDS, deadline_s=102.5)
    assert transport.options[0][3] == 2.5


LATE = "the deadline passed before the answer was there: allow more time with timeout_ms"


def test_what_comes_too_late_is_not_sent() -> None:
    transport = FirstOfEachRow()
    with pytest.raises(DeadlineError, match=re.escape(LATE)):
        engine(transport).run(IDS, deadline_s=time.monotonic() - 1)
    assert transport.requests == []


def test_nobody_waits_beyond_the_deadline(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])

    def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        now_s[0] += wait_s

    monkeypatch.setattr("time.sleep", sleep)
    transport = FirstOfEachRow(*[away() for _ in range(9)])
    with pytest.raises(ServerUnavailableError, match=r"^no server$"):
        engine(transport, retries=9).run(IDS, deadline_s=100.5)
    # 0.1 s and 0.2 s fit into half a second, but 0.4 s more do not.
    assert waits == [0.1, 0.2]
    assert [options[3] for options in transport.options] == pytest.approx([0.5, 0.4, 0.2])


def test_another_version_is_told() -> None:
    message = "the model minilm answered with version 2, and the texts were tokenised for version 1"
    with pytest.raises(ModelChangedError, match=f"^{re.escape(message)}$"):
        engine(FirstOfEachRow(version="2")).run(IDS)


def test_an_output_of_another_type() -> None:
    message = (
        "the model minilm answered float64 as sentence_embedding, where float32 is expected: make "
        "its repository with 'lanner repository'"
    )
    with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
        engine(FirstOfEachRow(dtype=np.float64)).run(IDS)


def test_an_output_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = FirstOfEachRow()
    answer: Any = ServerAnswer({NAME: None}, "1")
    monkeypatch.setattr(transport, "infer", lambda *_, **__: answer)
    message = (
        "the model minilm answered without sentence_embedding: it has no such output, or its "
        "response cache remembers that this request failed"
    )
    with pytest.raises(EngineError, match=re.escape(message)):
        engine(transport).run(IDS)


def test_several_outputs_are_answered_by_name() -> None:
    found = engine(FirstOfEachRow()).answer(IDS, ("logits", "offsets"))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "logits": [[5], [7], [9]],
        "offsets": [[5], [7], [9]],
    }


@pytest.mark.parametrize("shape", [(1, 12), (4, 12), (12,), (), (0, 12)])
def test_an_answer_needs_a_row_for_each_input(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    transport = FirstOfEachRow()
    answer = ServerAnswer({NAME: np.ones(shape, np.float32)}, "1")
    monkeypatch.setattr(transport, "infer", lambda *_, **__: answer)
    message = (
        f"the model minilm answered {NAME} of the shape {list(shape)} to 3 inputs: each must have "
        "a row, so its server or what stands before it is out of order"
    )
    with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
        engine(transport).run(IDS)
