"""`lanner classify`: label texts."""

import argparse

from lanner.commands.console import shows_progress, write_answers
from lanner.commands.options import Subparsers, add_command, add_on_long_option, need, positive
from lanner.commands.source import add_input_options, add_model_options, load_model, read_input

_EXAMPLES = """\
  lanner classify intents.lanner "Where is my parcel?" "Please cancel my order."
  lanner classify intents.lanner --input tickets.csv --column body --top-k 3 --output labels.jsonl
  lanner classify duplicates.lanner --pairs "How do I log in?" "I forgot my password."
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "classify", summary="label texts", examples=_EXAMPLES)
    add_model_options(parser)
    add_input_options(parser, pairs=True)
    parser.add_argument("--pairs", action="store_true", help="classify pairs of texts")
    parser.add_argument(
        "--top-k",
        metavar="N",
        type=positive,
        help="show the N best labels with their scores (default: all)",
    )
    parser.add_argument(
        "--threshold",
        metavar="P",
        type=float,
        default=0.5,
        help="the least score of a label that a multi-label classifier gives (default: 0.5)",
    )
    add_on_long_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    need(args.pairs or not args.pair_column, "--pair-column needs --pairs")
    inputs = read_input(args, as_pairs=args.pairs)
    model = load_model(args)
    found = model.classify(
        inputs,
        top_k=args.top_k,
        threshold=args.threshold,
        show_progress_bar=shows_progress(args),
        on_long=args.on_long,
    )
    answers = []
    for item, classification in zip(inputs, found, strict=True):
        text = {"text": item[0], "text_pair": item[1]} if args.pairs else {"text": item}
        answers.append({**text, **classification.to_json()})
    write_answers(
        args,
        model.variant.name,
        answers,
        lambda: "\n".join(
            "  ".join(f"{label} {score:.4f}" for label, score in one.scores.items())
            for one in found
        ),
    )
