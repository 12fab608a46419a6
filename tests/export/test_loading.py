import pytest

from lanner.errors import UnsupportedError

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.loading import load_checkpoint


def test_a_head_that_there_is_not_is_named_before_the_checkpoint_is_read() -> None:
    message = "there is no head 'rank': use auto, embed, score, classify, tag, sparse, tokens"
    with pytest.raises(UnsupportedError, match=f"^{message}$"):
        load_checkpoint("no-such-checkpoint", head="rank")
