"""The first page: short, with the same content in two languages, and true at its first commands."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.pages import READMES, blocks, name_of

ENGLISH, CHINESE = READMES


def prose(page: Path) -> str:
    """Return the text of a page without its code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def code(page: Path) -> list[str]:
    """Return the code of a page without its comments, which are translated."""
    return [re.sub(r" *#.*", "", block.code) for block in blocks(page, "sh", "python", "text")]


def figures(page: Path) -> Counter[str]:
    return Counter(re.findall(r"\d[\d,.]*(?<![,.])", prose(page)))


def links(page: Path) -> set[str]:
    return set(re.findall(r"\]\(([^)]+)\)", prose(page))) - {"README.md", "README.zh-CN.md"}


@pytest.mark.parametrize("page", READMES, ids=name_of)
def test_it_is_short_and_begins_with_its_commands(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    beginning = "\n".join(lines[:30])
    assert "\nmake demo " in beginning
    assert "\nmake test " in beginning
    assert "\npip install " in beginning


@pytest.mark.parametrize(
    ("page", "said"), [(ENGLISH, "no GPU has run it yet"), (CHINESE, "还没有在任何 GPU 上运行过")]
)
def test_the_first_mention_of_a_gpu_says_that_none_has_run_it(page: Path, said: str) -> None:
    paragraphs = re.split(r"\n\n|\n- ", prose(page))
    first = next(paragraph for paragraph in paragraphs if "GPU" in paragraph)
    assert said in first


def test_both_languages_have_the_same_code() -> None:
    assert code(CHINESE) == code(ENGLISH)


def test_both_languages_have_the_same_figures() -> None:
    assert figures(CHINESE) == figures(ENGLISH)
    assert figures(ENGLISH)["1,782"] == 1


def test_both_languages_have_the_same_links_and_options() -> None:
    assert links(CHINESE) == links(ENGLISH)
    names = re.compile(r"`[^`\n]+`")
    assert Counter(names.findall(prose(CHINESE))) == Counter(names.findall(prose(ENGLISH)))


@pytest.mark.parametrize("page", READMES, ids=name_of)
def test_the_links_lead_to_files(page: Path) -> None:
    for link in links(page):
        assert (page.parent / link).is_file(), link
