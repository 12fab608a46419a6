import pytest

from lanner.errors import InputError
from lanner.files.rows import Columns, GivenRows, Row, require_columns


def test_texts_that_are_there_already() -> None:
    rows, others = GivenRows(["a", "b", "c"]), GivenRows(["a", "b", "x"])
    assert rows.skip(2) == others.skip(2) == 2
    assert rows.digest() == others.digest()
    assert [row.values for row in rows if isinstance(row, Row)] == [{"text": "c"}]
    assert others.skip(5) == 1
    assert rows.digest() != others.digest()
    assert rows.position == rows.total == 3


def test_a_row_may_be_a_text_alone() -> None:
    assert Columns(["a"]).is_one_text
    assert not Columns(["a", "a"]).is_one_text
    assert not Columns(["a"], ["b"]).is_one_text
    assert not Columns(kept=["a"]).is_one_text
    assert Columns(["a", "b"], ["b", "c"]).names == ("a", "b", "c")


def test_columns_are_there_once() -> None:
    require_columns("x", ["a"], ["b", "a"], where="its schema")
    with pytest.raises(InputError, match=r"^x has no column 'a' in its schema, which holds b, c$"):
        require_columns("x", ["a"], ["b", "c"], where="its schema")
    with pytest.raises(InputError, match=r"^x has 2 columns 'a': rename all but one$"):
        require_columns("x", ["a"], ["a", "a"], where="its schema")
