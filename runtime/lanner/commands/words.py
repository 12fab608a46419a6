"""`lanner words`: similar words, analogies and evaluations of word vectors."""

import argparse
from pathlib import Path
from typing import Any

from lanner.commands.console import print_json, show, table
from lanner.commands.options import Subparsers, add_command, need, positive
from lanner.loading.load import load
from lanner.words.evaluation import (
    RESTRICT,
    evaluate_analogies,
    evaluate_pairs,
    is_analogies,
)
from lanner.words.table import Similar, WordTable

_EXAMPLES = """\
  lanner words nearest glove.lanner falcon
  lanner words analogy glove.lanner man king woman          man is to king as woman is to ...
  lanner words evaluate glove.lanner wordsim353.tsv questions-words.txt
"""
_WORDS_OF_ANALOGY = 3


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "words",
        summary="show similar words and analogies of word vectors, or evaluate them",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "action",
        metavar="ACTION",
        choices=("nearest", "analogy", "evaluate"),
        help="nearest, analogy or evaluate",
    )
    parser.add_argument("model", metavar="DIR", help="an artifact of word vectors")
    parser.add_argument(
        "arguments",
        metavar="WORD|FILE",
        nargs="+",
        help="nearest: words, each by itself; analogy: three words, for the fourth; evaluate: "
        "files of two words and a similarity (.tsv, .csv), or of four words in sections (': NAME')",
    )
    parser.add_argument(
        "--count", metavar="N", type=positive, default=10, help="similar words (default: 10)"
    )
    parser.add_argument(
        "--restrict",
        metavar="N",
        type=positive,
        help=f"take only the first N words of the table, usually the most frequent (default: all; "
        f"of evaluate {RESTRICT:,}, as gensim does)",
    )
    parser.add_argument(
        "--variant", default="auto", help="the variant to run, by its name or precision, or auto"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    is_analogy, evaluates = args.action == "analogy", args.action == "evaluate"
    count = len(args.arguments)
    need(
        not is_analogy or count == _WORDS_OF_ANALOGY,
        f"lanner words analogy takes three words, not {count}: A is to B as C is to ...",
    )
    restrict = args.restrict or (RESTRICT if evaluates else None)
    words = WordTable(load(args.model, variant=args.variant), restrict=restrict)
    if evaluates:
        _evaluate(words, [Path(one) for one in args.arguments], as_json=args.json)
        return
    if is_analogy:
        first, second, third = args.arguments
        asked = {f"{first} : {second} = {third} : ?": ([second, third], [first])}
    else:
        asked = {word: ([word], list[str]()) for word in args.arguments}
    answers = {
        question: words.most_similar(positive, negative, args.count)
        for question, (positive, negative) in asked.items()
    }
    if args.json:
        print_json({"answers": [_content(*answer) for answer in answers.items()]})
        return
    for question, similar in answers.items():
        rows = [(one.word, f"{one.score:.4f}") for one in similar]
        show(table([(question, "cosine"), *rows]))


def _content(question: str, similar: list[Similar]) -> dict[str, Any]:
    words = [{"word": one.word, "score": one.score} for one in similar]
    return {"question": question, "words": words}


def _evaluate(words: WordTable, files: list[Path], *, as_json: bool) -> None:
    found: list[dict[str, Any]] = []
    for path in files:
        if is_analogies(path):
            result = evaluate_analogies(words, path)
            sections = [vars(section) for section in (*result.sections, result.total)]
            found.append({"file": str(path), "kind": "analogies", "sections": sections})
        else:
            pairs = evaluate_pairs(words, path)
            found.append({"file": str(path), "kind": "similarities", **pairs._asdict()})
    if as_json:
        print_json({"evaluations": found})
        return
    for one in found:
        if one["kind"] == "similarities":
            head = ("spearman x100", "pearson x100", "pairs", "with unknown words")
            points = [f"{100 * one[name]:.2f}" for name in ("spearman", "pearson")]
            counts = [str(one[name]) for name in ("pairs", "unknown")]
            show(table([(one["file"], *head), ("", *points, *counts)]))
        else:
            rows = [
                (
                    section["name"],
                    f"{100 * section['correct'] / max(1, section['questions']):.1f} %",
                    str(section["questions"]),
                    str(section["unknown"]),
                )
                for section in one["sections"]
            ]
            show(table([(one["file"], "correct", "questions", "with unknown words"), *rows]))
