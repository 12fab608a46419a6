"""`lanner tag`: find the entities of texts."""

import argparse

from lanner.commands.console import shows_progress, table, write_answers
from lanner.commands.options import Subparsers, add_command
from lanner.commands.source import add_input_options, add_model_options, load_model, read_input
from lanner.text.entities import AGGREGATION_STRATEGIES

_EXAMPLES = """\
  lanner tag entities.lanner "Ada Lovelace was born in London."
  lanner tag entities.lanner --input reports.txt --output entities.jsonl
  lanner tag entities.lanner --aggregation-strategy first "Zoë met Ada in Reykjavík." --json
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "tag", summary="find the entities of texts", examples=_EXAMPLES
    )
    add_model_options(parser)
    add_input_options(parser)
    parser.add_argument(
        "--aggregation-strategy",
        choices=AGGREGATION_STRATEGIES,
        default="simple",
        help="the way tokens become entities, as in transformers' pipeline (default: simple)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    texts = read_input(args)
    model = load_model(args)
    found = model.tag(
        texts,
        aggregation_strategy=args.aggregation_strategy,
        show_progress_bar=shows_progress(args),
    )
    answers = [
        {"text": text, "entities": [entity.to_json() for entity in entities]}
        for text, entities in zip(texts, found, strict=True)
    ]
    rows = [
        (number, entity.start, entity.end, entity.label, f"{entity.score:.4f}", entity.text)
        for number, entities in enumerate(found, start=1)
        for entity in entities
    ]
    header = ("text", "start", "end", "label", "score", "entity")
    write_answers(args, model.variant.name, answers, lambda: table([header, *rows]))
