"""Shared work of the tests: it is made once, and equals what each test would have made."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import bert_checkpoint
from tests.support.made_once import made_once
from tests.support.traced_once import digest_of


def test_it_is_made_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    asked: list[Path] = []
    made = [made_once(tmp_path_factory, "made once", asked.append) for _ in range(3)]
    assert asked == [made[0]]
    assert set(made) == {made[0]}


def test_what_failed_is_made_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").mkdir(parents=True)
        raise OSError(directory)

    with pytest.raises(OSError, match=r"made again"):
        made_once(tmp_path_factory, "made again", fail)
    whole = made_once(tmp_path_factory, "made again", lambda directory: directory.mkdir())
    assert list(whole.iterdir()) == []


def test_only_an_equal_model_has_the_same_graph(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the export extra")
    from lanner_export.loading import load_checkpoint  # noqa: PLC0415

    def graph_of(name: str, **options: Any) -> Any:
        return load_checkpoint(str(bert_checkpoint(tmp_path / name, **options))).graph

    names = ["input_ids", "attention_mask", "sentence_embedding"]
    graph = graph_of("one")
    same = digest_of(graph, names)
    assert digest_of(graph_of("two", prompts={"query": "a "}), names) == same
    others = [
        digest_of(graph, [*names, "without a pass"]),
        digest_of(graph_of("pooled otherwise", pooling="max"), names),
        digest_of(graph_of("not normalized", normalize=False), names),
    ]
    graph.dimension = 8
    others.append(digest_of(graph, names))
    graph.dimension = 12
    with torch.no_grad():
        graph.transformer.encoder.layer[1].output.dense.bias[0] += 1e-3
    others.append(digest_of(graph, names))
    assert len({same, *others}) == 1 + len(others)
