import numpy as np
import pytest

from lanner.triton.carrier import Carrier

grpc = pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")


def test_texts_are_bytes_and_tokens_int64() -> None:
    given = {"input_ids": np.zeros((1, 2), np.int64), "text": np.array([[b"a"]], np.object_)}
    tensors = Carrier(given, ("vector",)).input_tensors(grpc.InferInput)
    assert [(one.name(), one.datatype(), one.shape()) for one in tensors] == [
        ("input_ids", "INT64", [1, 2]),
        ("text", "BYTES", [1, 1]),
    ]


def test_every_output_is_asked_for() -> None:
    wanted = Carrier({}, ("logits", "offsets")).output_tensors(grpc.InferRequestedOutput)
    assert [one.name() for one in wanted] == ["logits", "offsets"]
