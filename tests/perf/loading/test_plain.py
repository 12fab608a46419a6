from pathlib import Path

from lanner_perf.loading.plain import Embedding


def test_how_tokens_become_a_vector_is_kept(tmp_path: Path) -> None:
    embedding = Embedding("cls", is_normalized=False, dimension=384, max_tokens=256)
    embedding.write(tmp_path)
    assert Embedding.read(tmp_path) == embedding
