"""`lanner score`: score pairs of texts."""

import argparse

from lanner.commands.console import shows_progress, write_answers
from lanner.commands.options import Subparsers, add_command, add_on_long_option
from lanner.commands.source import add_input_options, add_model_options, load_model, read_input

_EXAMPLES = """\
  lanner score reranker.lanner "How do I log in?" "Click on the link below the password."
  lanner score reranker.lanner --input pairs.csv --column sentence1 --pair-column sentence2
  lanner score reranker.lanner --input pairs.jsonl --output scores.jsonl
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "score", summary="score pairs of texts", examples=_EXAMPLES)
    add_model_options(parser)
    add_input_options(parser, pairs=True)
    add_on_long_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    pairs = read_input(args, as_pairs=True)
    model = load_model(args)
    found = model.score(pairs, show_progress_bar=shows_progress(args), on_long=args.on_long)
    scores = found.tolist()
    answers = [
        {"text": left, "text_pair": right, "score": score}
        for (left, right), score in zip(pairs, scores, strict=True)
    ]
    write_answers(
        args, model.variant.name, answers, lambda: "\n".join(f"{score:.6f}" for score in scores)
    )
