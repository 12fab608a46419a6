"""Forged artifacts: whatever their files contain, they cause only errors of Lanner."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.word_artifact import write_manifest

from lanner.artifact import manifest as manifest_module
from lanner.artifact.artifact import QUALITY_FILE, Artifact
from lanner.artifact.manifest import MANIFEST_FILE
from lanner.commands.inspect import describe
from lanner.errors import ArtifactError, LannerError
from lanner.loading.load import load
from lanner.loading.tuned import tuning_file

VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**70,
    10**30,
    1e308,
    "",
    "x" * 1_000,
    "\x1b[2J",
    "../../etc/passwd",
    [],
    [[]],
    {},
    {"a": {}},
    [None, 1, "x"],
    {"variants": 1},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inners = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else inners:
        yield from places(inner, (*path, key))


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def use(directory: Path) -> None:
    """Call everything that reads an artifact's descriptions."""
    artifact = Artifact.open(directory)
    artifact.verify()
    describe(artifact, artifact.quality())
    load(directory, threads=1).encode("a b")


def only_errors_of_lanner(directory: Path) -> bool:
    try:
        use(directory)
    except LannerError as error:
        return len(str(error)) < 3_000
    return True


def test_manifests(word_artifact: Path) -> None:
    rng = random.Random(20)  # noqa: S311 (the same each time)
    path = word_artifact / MANIFEST_FILE
    content = json.loads(path.read_text())
    del content["sha256"]
    every = [(place, value) for place in places(content) if place for value in VALUES]
    for place, value in rng.sample(every, 400):
        made = changed(content, place, value)
        path.write_bytes(
            manifest_module._canonical({**made, "sha256": manifest_module._digest(made)})
        )
        assert only_errors_of_lanner(word_artifact), (place, value)


def test_cards(word_artifact: Path) -> None:
    path = word_artifact / QUALITY_FILE
    content = json.loads(path.read_text())
    for place in places(content):
        for value in VALUES:
            path.write_text(json.dumps(changed(content, place, value)))
            write_manifest(word_artifact)
            assert only_errors_of_lanner(word_artifact), (place, value)


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 10**6, b"NaN", b"\xff", b"[]", b"7", b" " * 2**25, b'{"variants": {"fp32": NaN}}'],
    ids=["empty", "deep", "NaN", "no UTF-8", "list", "number", "large", "NaN inside"],
)
def test_cards_that_are_none(word_artifact: Path, content: bytes) -> None:
    (word_artifact / QUALITY_FILE).write_bytes(content)
    write_manifest(word_artifact)
    with pytest.raises(ArtifactError, match=r"quality.json lacks measurements of a variant \("):
        Artifact.open(word_artifact).quality()


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 10**6, b"[]", b'{"format": 1}', b" " * 2**23, b'{"entries": [[]]}'],
    ids=["empty", "deep", "list", "another", "large", "entries"],
)
def test_choices_that_are_none(
    word_artifact: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    tuning_file(Artifact.open(word_artifact)).write_bytes(content)
    assert load(word_artifact, threads=1).encode("a").tolist() == [1, 0, 0, 0]
    assert "is damaged and not used" in caplog.text
