from pathlib import Path

from lanner.running.defaults import GPU_TOKEN_BUDGET, MAX_WAITING, TOKEN_BUDGET

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "concurrency.md"


def test_the_guide_has_the_defaults() -> None:
    rows = GUIDE.read_text(encoding="utf-8").splitlines()
    defaults = {
        cells[1].strip(" `"): cells[2].strip() for row in rows if len(cells := row.split("|")) == 5
    }
    assert defaults["max_waiting"] == f"{MAX_WAITING:,}"
    assert defaults["token_budget"] == f"{TOKEN_BUDGET:,}, on a GPU {GPU_TOKEN_BUDGET:,}"
