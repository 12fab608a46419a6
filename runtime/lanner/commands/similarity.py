"""`lanner similarity`: compare two texts."""

import argparse

from lanner.commands.console import print_json
from lanner.commands.options import Subparsers, add_command
from lanner.commands.source import add_model_options, load_model

_EXAMPLES = """\
  lanner similarity minilm.lanner "A plane is taking off." "An air plane is taking off."
  lanner similarity minilm.lanner "a cat" "a kitten" --json
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "similarity", summary="show the similarity of two texts", examples=_EXAMPLES
    )
    add_model_options(parser)
    parser.add_argument("texts", metavar="TEXT", nargs=2, help="the two texts")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    model = load_model(args)
    left, right = model.encode(args.texts)
    score = float(model.similarity_pairwise(left, right)[0])
    if args.json:
        answer = {"similarity": score, "function": model.similarity_fn_name}
        print_json({**answer, "texts": args.texts, "variant": model.variant.name})
    else:
        print(f"{score:.4f}")
