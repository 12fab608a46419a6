from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the reference")


from tests.support.checkpoints import SENTENCES, bert_checkpoint

from lanner_perf.peers.peer_models import Made, MadePeer, Peer, Place
from lanner_perf.peers.verification import too_far, verified
from lanner_perf.subjects.subject import Spec

KIND = "sentence-transformers"


@pytest.mark.parametrize(
    ("cosine", "least", "expected"),
    [
        (0.9999, 0.9999, ""),
        (0.5, None, ""),
        (
            0.99989,
            0.9999,
            "its vectors are not the checkpoint's: cosine 0.99989 for a shipped sentence",
        ),
        (
            -1.0,
            0.9999,
            "its vectors are not the checkpoint's: cosine -1.00000 for a shipped sentence",
        ),
    ],
)
def test_how_near_an_answer_must_be(cosine: float, least: float | None, expected: str) -> None:
    assert too_far(cosine, least) == expected


@pytest.mark.slow
def test_what_answers_something_else_is_left_out(tmp_path: Path) -> None:
    right = bert_checkpoint(tmp_path / "right", dense=False)
    wrong = bert_checkpoint(tmp_path / "wrong", dense=True)  # vectors with other numbers

    def subject(name: str, path: Path, **options: str) -> MadePeer:
        peer = Peer(name, KIND, least_cosine=0.999)
        return MadePeer(peer, Spec(name, KIND, str(path), options, is_optional=True))

    made = Made(
        [
            subject("reference", right),
            subject("same", right, dtype="bfloat16"),
            subject("other", wrong),
            subject("gone", tmp_path / "gone"),
        ],
        [{"name": "before", "reason": "it was not made"}],
    )
    place = Place(right, tmp_path / "environments", tmp_path / "work")
    told: list[str] = []
    judged = verified(made, place, SENTENCES, 1, told.append)
    assert [spec.name for spec in judged.specs] == ["reference", "same"]
    reasons = {item["name"]: item["reason"] for item in judged.left_out}
    assert list(reasons) == ["before", "other", "gone"]
    assert reasons["other"] == "its vectors have the shape [5, 12], the checkpoint's [5, 32]"
    assert reasons["gone"].startswith(f"gone on {tmp_path}/gone: ")
    assert told == ["verifying same", "verifying other", "verifying gone"]
    # Verdicts are kept; failures are tried again.
    told.clear()
    assert verified(made, place, SENTENCES, 1, told.append).subjects == judged.subjects
    assert told == ["verifying other", "verifying gone"]
