"""Calls of a model whose version changes on its server during the call.

`tests.runtime.models.test_embedding` has the other tests.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.manifests import FP32, manifest
from tests.support.word_artifact import MAX_TOKENS, VOCABULARY
from tokenizers import Tokenizer as Words
from tokenizers.models import WordLevel

from lanner.errors import EngineError, ModelChangedError
from lanner.models.base import FIRST_TEXTS, Calls, Model, call_once
from lanner.models.embedding import EmbeddingModel
from lanner.running.runner import Runner, feed
from lanner.text.tokenization import Tokenizer
from lanner.triton.client.renewal import MOST_RENEWALS, Renewal


class Server:
    """A server of a model in which each token counts by the number of its version.

    After each of the given numbers of requests the version changes.
    """

    def __init__(self, *changes_at: int) -> None:
        self.changes_at = changes_at
        self.asked = 0

    @property
    def version(self) -> int:
        return 1 + sum(self.asked > change for change in self.changes_at)


class VersionEngine:
    """Answers with the version and the last token of each row."""

    name, run_tokens = "version", 0

    def __init__(self, server: Server) -> None:
        self.server, self.version = server, server.version

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        self.server.asked += 1
        if self.server.version != self.version:
            msg = f"{self.server.version}, not {self.version}"
            raise ModelChangedError(msg)
        last = inputs["input_ids"][:, -1]
        return np.stack([np.full_like(last, self.version), last], axis=1).astype(np.float32)


def runner(server: Server) -> Runner:
    return Runner(
        VersionEngine(server), feed=partial(feed, pad_token_id=0), workers=1, token_budget=64
    )


def tokenizer(directory: Path, version: int) -> Tokenizer:
    """Return a version's tokenizer: "a" is token 2 in version 1, and one more in each later one."""
    vocabulary = {word: number + version - 1 for word, number in VOCABULARY.items()}
    path = directory / f"{version}.json"
    Words(WordLevel(vocabulary, unk_token="[UNK]")).save(str(path))  # noqa: S106
    return Tokenizer(path, replace(manifest().tokenizer, max_tokens=MAX_TOKENS))


def connected(directory: Path, server: Server, calls: Calls | None = None) -> EmbeddingModel:
    """Return a model whose version follows its server's."""

    def renew(model: Model) -> None:
        model.tokenizer = tokenizer(directory, server.version)
        model.runner = runner(server)

    return EmbeddingModel(
        manifest=manifest(dimension=2),
        variant=FP32,
        tokenizer=tokenizer(directory, 1),
        runner=runner(server),
        calls=calls or Renewal(renew),
    )


def test_a_call_goes_with_its_server(tmp_path: Path) -> None:
    model = connected(tmp_path, Server(1))
    assert model.encode(["a", "b"]).tolist() == [[1, 2], [1, 3]]
    assert model.encode(["a", "b"]).tolist() == [[2, 3], [2, 4]]
    assert model.encode("a").tolist() == [2, 3]


def test_a_large_call_is_answered_by_one_version(tmp_path: Path) -> None:
    server = Server(5)
    model = connected(tmp_path, server)
    vectors = model.encode(["a"] * (2 * FIRST_TEXTS))
    assert server.asked > 10
    assert np.unique(vectors, axis=0).tolist() == [[2, 3]]


def test_a_server_that_changes_again_while_a_call_runs(tmp_path: Path) -> None:
    server = Server(0, 1)
    assert connected(tmp_path, server).encode("a").tolist() == [3, 4]
    assert server.asked == MOST_RENEWALS


def test_a_server_that_does_not_come_to_rest(tmp_path: Path) -> None:
    server = Server(*range(9))
    message = (
        "the server exchanged words 3 times during one call: try again when its deployment has "
        "finished"
    )
    model = connected(tmp_path, server)
    with pytest.raises(ModelChangedError, match=f"^{re.escape(message)}$"):
        model.encode("a")
    assert server.asked == MOST_RENEWALS


def test_what_does_not_renew_itself_passes_the_error_on(tmp_path: Path) -> None:
    server = Server(0)
    model = connected(tmp_path, server, call_once)
    with pytest.raises(ModelChangedError, match=r"^2, not 1$"):
        model.encode("a")
    assert server.asked == 1


def test_only_a_change_is_answered_by_a_renewal(tmp_path: Path) -> None:
    model = connected(tmp_path, Server())
    asked = []

    def answer(runner: Runner) -> int:
        asked.append(runner)
        raise EngineError("broken")

    with pytest.raises(EngineError, match=r"^broken$"):
        model.of_one_version(answer)
    assert asked == [model.runner]


def test_an_answer_is_asked_for_with_the_runner_of_its_time(tmp_path: Path) -> None:
    model = connected(tmp_path, Server())
    seen = []

    def answer(runner: Runner) -> str:
        seen.append(runner)
        if len(seen) == 1:
            raise ModelChangedError("another")
        return "answer"

    first = model.runner
    assert model.of_one_version(answer) == "answer"
    assert seen == [first, model.runner]
    assert model.runner is not first
