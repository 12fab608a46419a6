"""The words artifact with a Triton server's configuration and answers, for forgeries."""

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support.mutations import forged
from tests.support.word_artifact import write_manifest, write_word_artifact

from lanner.artifact import manifest as manifest_module
from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import MANIFEST_FILE, RangesRecord
from lanner.models.answers import ask
from lanner.triton.client.connection import connect
from lanner.triton.contract.served_model import carried_files
from lanner.triton.contract.tensors import BUCKETS, INPUT_KIND, TEXT_KIND, VARIANT
from lanner.vectors.ranges import EmbeddingRanges

TEXTS = ["a b", "zz", "c"]
Tensors = dict[str, NDArray[Any]]
#: The answers to three texts: the tensors of a token model, and of a text model with the head tag.
ANSWERS: dict[str, Tensors] = {
    "embed": {"sentence_embedding": np.arange(12, dtype="<f4").reshape(3, 4)},
    "tag": {
        "logits": np.arange(24, dtype="<f4").reshape(3, 2, 4),
        "offsets": np.array([[[0, 1], [2, 3]], [[0, 2], [-1, -1]], [[0, 1], [-1, -1]]], "<i8"),
        "continues": np.zeros((3, 2), "<i8"),
    },
}
DATATYPES = {"f4": "FP32", "i8": "INT64"}


def configuration(directory: Path, head: str) -> dict[str, Any]:
    """Write the words artifact to the directory, and return the configuration of its model."""
    write_word_artifact(directory)
    if head == "embed":
        extremes = np.array([[-2.0] * 4, [20.0] * 4], np.float32)
        EmbeddingRanges(extremes, np.ones(4, np.float32)).write(directory / "ranges.npy")
        write_manifest(directory, embedding_ranges=RangesRecord("ranges.npy", "some", 3))
    else:
        write_manifest(directory, head=head, similarity="", labels=list("wxyz"), outputs=["logits"])
    parameters = carried_files(Artifact.open(directory), 1, is_text=head == "tag")
    parameters |= {VARIANT: "fp32", BUCKETS: "4"}
    if head == "tag":
        parameters |= {INPUT_KIND: TEXT_KIND}
    return {
        "name": "m",
        "platform": "",
        "backend": "python",
        "max_batch_size": 8,
        "instance_group": [{"name": "m_0", "kind": "KIND_CPU", "count": 2}],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }


def connected(url: str) -> None:
    """Connect and ask; check that the answer belongs to each text."""
    model = connect(url, "m", retries=0)
    try:
        found = ask(model, TEXTS)
        assert len(found) == len(TEXTS)
        if isinstance(found, np.ndarray):
            assert found.shape == (3, model.manifest.dimension)
            assert np.isfinite(found).all()
    finally:
        model.close()


@st.composite
def recarried(draw: st.DrawFn, config: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a configuration with a forged or wrongly packed file."""
    parameters = {name: one["string_value"] for name, one in config["parameters"].items()}
    name = draw(st.sampled_from([key for key in parameters if key.startswith("lanner_file")]))
    kind = draw(st.sampled_from(("forged",) * 5 + ("bomb", "cut", "none", "behind")))
    content = zlib.decompress(base64.b64decode(parameters[name]))
    if kind == "forged" and not name.endswith(".npy"):
        content = draw(forged(json.loads(content)))
        if name.endswith(MANIFEST_FILE):
            content = resigned(content)
    packed = zlib.compress(content)
    if kind == "bomb":
        packed = zlib.compress(b" " * 2**26)
    elif kind == "cut":
        packed = packed[: draw(st.integers(0, len(packed)))]
    elif kind == "behind":
        packed += b"x" * 1_000
    value = "?" if kind == "none" else base64.b64encode(packed).decode()
    return {**config, "parameters": {**config["parameters"], name: {"string_value": value}}}


def resigned(content: bytes) -> bytes:
    """Return the bytes of a manifest with its new digest; other bytes unchanged."""
    try:
        made = json.loads(content)
        made.pop("sha256", None)
        signed = {**made, "sha256": manifest_module._digest(made)}
        return manifest_module._canonical(signed)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return content


@st.composite
def other_tensors(draw: st.DrawFn, tensors: Mapping[str, NDArray[Any]]) -> Tensors:
    """Draw the tensors of an answer, one of them missing or with another type, shape or value."""
    made = dict(tensors)
    name = draw(st.sampled_from(sorted(made)))
    tensor = made[name]
    changes: Sequence[Callable[[], NDArray[Any]]] = [
        lambda: tensor,
        lambda: tensor[:1],
        lambda: tensor[:0],
        lambda: np.concatenate([tensor, tensor]),
        lambda: tensor.reshape(-1),
        lambda: tensor[..., None],
        lambda: tensor[None],
        lambda: tensor[..., :1],
        lambda: tensor.reshape(3, -1)[:, :0],
        lambda: np.swapaxes(tensor, 0, 1),
        lambda: tensor.astype("<i8"),
        lambda: tensor.astype("<f4"),
        lambda: (tensor * np.nan).astype("<f4"),
        lambda: (tensor + np.inf).astype("<f4"),
        lambda: np.full_like(tensor, -1),
        lambda: np.full_like(tensor, 2**30),
        lambda: np.zeros((3, 2**16), tensor.dtype),
        lambda: np.array(7, tensor.dtype),
    ]
    made[name] = draw(st.sampled_from(changes))()
    kind = draw(st.sampled_from(("as it is",) * 6 + ("gone", "renamed", "another")))
    if kind == "gone":
        del made[name]
    elif kind == "renamed":
        made["other"] = made.pop(name)
    elif kind == "another":
        made = {"more": np.ones((3, 4), "<f4"), **made}
    return made
