"""`lanner similarity`: compare two texts."""

import argparse
from typing import Any

from lanner.artifact.heads import AnswerKind
from lanner.commands.console import print_json
from lanner.commands.options import Subparsers, add_command
from lanner.commands.source import add_model_options, load_model
from lanner.models.tokens import QUERY

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
    score = float(_similarity(model, *args.texts)[0])
    if args.json:
        answer = {"similarity": score, "function": model.similarity_fn_name}
        print_json({**answer, "texts": args.texts, "variant": model.variant.name})
    else:
        print(f"{score:.4f}")


def _similarity(model: Any, left: str, right: str) -> Any:
    """Return the similarity of two texts, the first as a query where that makes a difference."""
    record = model.manifest.head_record
    if record.answer is AnswerKind.TERMS:
        vectors = model.encode_sparse([left, right])
        return model.similarity_pairwise(vectors[:1], vectors[1:])
    if record.by_token and record.answers_vectors:
        query, document = model.encode_tokens([left], task=QUERY), model.encode_tokens([right])
        return model.similarity_pairwise(query, document)
    if model.manifest.ways:
        return model.similarity_pairwise(model.encode_query([left]), model.encode_document([right]))
    return model.similarity_pairwise(*model.encode([left, right]))
