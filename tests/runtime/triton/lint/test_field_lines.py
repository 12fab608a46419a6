from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tritonclient", reason="needs the triton extra")

from lanner.triton.contract.model_config import parse_config
from lanner.triton.lint.field_lines import FieldLines

TEXT = """\
# a comment with name: "x" { [
name: "a # no { comment"  # parameters {

parameters: [
  { key: "threads" value: { string_value: "1" } },
  {
    key: "y." 'z'
    value { string_value: 'q"'
      "b" }
  }
]
parameters { key: "last" value { string_value: "]" } }
instance_group [ { count: 2 }, { kind: KIND_CPU
  count: 3 } ] dynamic_batching < max_queue_delay_microseconds: 5; >
input { name: "i" dims: [ -1,
  2 ] dims: 3 }
output { name: "o" dims: [ ] }
"""

#: Counted by hand.
LINES = {
    "name": 2,
    "parameters": 5,
    "parameters[1]": 6,
    "parameters[2]": 12,
    'parameters["threads"]': 5,
    'parameters["y.z"]': 6,
    'parameters["last"]': 12,
    "parameters[1].key": 7,
    "parameters[1].value.string_value": 8,
    "instance_group": 13,
    "instance_group[0].count": 13,
    "instance_group[1]": 13,
    "instance_group[1].count": 14,
    "dynamic_batching": 14,
    "dynamic_batching.max_queue_delay_microseconds": 14,
    "input.dims": 15,
    "input[0].dims[1]": 16,
    "input[0].dims[2]": 16,
    "output.dims": 17,
}

#: Missing fields get the first line of the message that would contain them.
PARENTS = {
    "backend": 1,
    'parameters["none"]': 1,
    "instance_group[1].gpus": 13,
    "instance_group[5].count": 1,
    "dynamic_batching.default_queue_policy.max_queue_size": 14,
    "input[0].dims[9]": 15,
}


def test_the_text_is_a_configuration() -> None:
    parse_config(TEXT, Path("config.pbtxt"))


@pytest.mark.parametrize(("path", "line"), LINES.items())
def test_a_field_is_found(path: str, line: int) -> None:
    lines = FieldLines(TEXT)
    assert path in lines
    assert lines.line(path) == line


@pytest.mark.parametrize(("path", "line"), PARENTS.items())
def test_what_is_absent_has_the_line_of_its_parent(path: str, line: int) -> None:
    lines = FieldLines(TEXT)
    assert path not in lines
    assert lines.line(path) == line


def test_a_text_without_fields_has_one_line() -> None:
    assert FieldLines("").line("name") == 1
    assert FieldLines("# nothing\n\n").line("name") == 1


def test_windows_line_ends_count_once() -> None:
    lines = FieldLines(TEXT.replace("\n", "\r\n"))
    assert {path: lines.line(path) for path in LINES} == LINES


@given(
    place=st.integers(0, TEXT.count("\n")),
    comments=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))),
)
def test_comment_lines_shift_what_is_below_them(place: int, comments: list[str]) -> None:
    # Line 9 continues the string of line 8, and a comment may stand between the two.
    rows = TEXT.split("\n")
    text = "\n".join([*rows[:place], *(f"# {comment}" for comment in comments), *rows[place:]])
    lines = FieldLines(text)
    for path, line in LINES.items():
        assert lines.line(path) == line + len(comments) * (line > place)
