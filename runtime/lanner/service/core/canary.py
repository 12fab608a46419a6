"""The canary: known texts whose answers must stay the same, in every worker and every version.

A model whose weights, scales, tokenizer or engine are others than those that an index was built
with answers without an error, and wrong. all-MiniLM-L6-v2 in int8: vectors of the same artifact and
engine differ by 1e-7 at most, those of one scale that is 1 % larger by 0.07 and more.
"""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.bounded import parse_json, read_bounded
from lanner.artifact.heads import InputKind
from lanner.errors import InputError, LannerError, ModelChangedError
from lanner.monitoring.record import Record
from lanner.service.core.catalogue import Catalogue
from lanner.service.core.health import Health
from lanner.service.core.refusal import Refusal
from lanner.service.core.served import ServedModel
from lanner.service.metrics import families

#: The largest difference that is no change, as a share of the length of the known answer.
MOST_DIFFERENCE = 0.001
#: Short and long, in several scripts, with digits: each reaches other rows and scales of a model.
TEXTS = (
    "A plane is taking off.",
    "Invoice 2024-117 over 1,250.00 EUR is due within 30 days; late payments cost 5 % a year.",
    "Ein Hund läuft durch den Schnee.",
    "如何重置我的密码",
    "x",
)
_FORMAT = "lanner-canary"
_MOST_BYTES = 64 * 2**20
#: Seconds that the answer to a text may take.
_MOST_S = 30.0

Answers = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Known:
    """Texts and their known answers.

    Attributes:
        texts: The texts.
        answers: The numbers of the graph's answer to each, float32 [n].
    """

    texts: Sequence[str]
    answers: Answers

    def difference(self, found: Answers) -> float:
        """Return the largest relative difference of an answer; infinity for another shape."""
        worst = 0.0
        for known, one in zip(self.answers, found, strict=True):
            if known.shape != one.shape:
                return float("inf")
            length = float(np.linalg.norm(known)) or 1.0
            worst = max(worst, float(np.linalg.norm(one - known)) / length)
        return worst


async def known_answers(served: ServedModel, texts: Sequence[str]) -> Answers:
    """Return the answer of a model to each text, each run alone; pairs are of a text with itself.

    Raises:
        LannerError: The model does not answer.
    """
    is_pair = served.manifest.head_record.inputs is InputKind.PAIRS
    answers: Answers = []
    for text in texts:
        parts = []
        for way in served.every_way():
            tokens = await way.tokens([(text, text) if is_pair else text])
            deadline_s = time.monotonic() + _MOST_S
            blocks = await way.blocks(tokens.sequences, deadline_s=deadline_s)
            parts += [block.ravel() for _, block in blocks]
        answers.append(np.concatenate(parts) if parts else np.zeros(0, np.float32))
    return answers


def to_bytes(known: Mapping[str, Known]) -> bytes:
    """Return the content of a file of known answers, by the names of the models."""
    models = {
        name: {
            "texts": list(one.texts),
            "answers": [
                base64.b64encode(np.ascontiguousarray(answer, "<f4").tobytes()).decode()
                for answer in one.answers
            ],
        }
        for name, one in known.items()
    }
    content = {"format": _FORMAT, "format_version": 1, "models": models}
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"


def read_known(path: Path) -> dict[str, Known]:
    """Return the known answers of a file, by the names of the models.

    Raises:
        InputError: The file cannot be read, or `lanner serve --write-canary` did not make it.
    """
    try:
        content = parse_json(read_bounded(path, _MOST_BYTES))
        if content["format"] != _FORMAT or content["format_version"] != 1:
            raise ValueError(content["format"])
        return {str(name): _known(one) for name, one in content["models"].items()}
    except OSError as error:
        msg = f"the known answers in {path} cannot be read: {error.strerror or error}"
        raise InputError(msg) from None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        msg = f"{path} is no file of known answers: make one with 'lanner serve ... --write-canary'"
        raise InputError(msg) from None


def _known(content: Mapping[str, Any]) -> Known:
    texts = [str(text) for text in content["texts"]]
    answers = [
        np.frombuffer(base64.b64decode(answer, validate=True), "<f4").astype(np.float32)
        for answer in content["answers"]
    ]
    if len(texts) != len(answers) or not texts:
        raise ValueError(len(texts))
    return Known(texts, answers)


class Canary:
    """Compares answers with known ones, and remembers the differences.

    Args:
        known: The known answers by the names of models.
        tell: Takes a message when a model begins to answer otherwise, or as before again.
    """

    def __init__(self, known: Mapping[str, Known], tell: Callable[[str], object]) -> None:
        self._known, self._tell = known, tell
        self._differences: dict[str, float] = {}

    async def check(self, served: ServedModel) -> None:
        """Compare the answers of a model.

        Raises:
            LannerError: The model does not answer.
        """
        known = self._known.get(served.name)
        if known is None:
            return
        difference = known.difference(await known_answers(served, known.texts))
        before = self._differences.get(served.name, 0.0)
        self._differences[served.name] = difference
        if (difference > MOST_DIFFERENCE) == (before > MOST_DIFFERENCE):
            return
        if difference > MOST_DIFFERENCE:
            self._tell(
                f"the model {served.name} answers known texts otherwise: the relative difference "
                f"is {difference:.3g}, and at most {MOST_DIFFERENCE:g} is rounding; its artifact, "
                "variant or engine is another one than that of the known answers"
            )
        else:
            self._tell(f"the model {served.name} answers known texts as before")

    def write(self, record: Record) -> None:
        """Write the differences into a record of metrics."""
        for name, difference in self._differences.items():
            record.set(families.CANARY_DIFFERENCE, difference, name)
            record.set(families.VECTORS_CHANGED, float(difference > MOST_DIFFERENCE), name)


async def watch(catalogue: Catalogue, health: Health, canary: Canary, every_s: float) -> None:
    """Probe each model, and compare its known answers, again and again until cancelled."""
    while True:
        for served in catalogue:
            try:
                await health.require(served)
                await canary.check(served)
            except (Refusal, ModelChangedError, LannerError):
                continue  # `lanner_model_ready` tells, or the next round
        await asyncio.sleep(every_s)
