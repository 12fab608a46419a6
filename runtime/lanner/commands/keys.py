"""`lanner keys`: make, list and revoke the API keys of the service."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from lanner.commands.console import print_json, say, show, table
from lanner.commands.options import Subparsers, add_command, argument, need, option_of, positive
from lanner.service.access.keys import Key, add_key, expiry, read_keys, revoke_key

_EXAMPLES = """\
  lanner keys add search-app
  lanner keys add batch --models minilm,ranker --requests-per-minute 600 --expires 90d
  KEY=$(lanner keys add ci --file /etc/lanner/keys.json --tokens-per-minute 100000 --concurrent 4)
  lanner keys list
  lanner keys revoke search-app

The key is printed once, to stdout; the file has its hash alone. A running service reads the file
again when it changes.
"""
_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent")
#: Options that only `add` takes, by the names of their attributes.
_OF_ADD = ("models", *_LIMITS, "expires")


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "keys",
        summary="make, list and revoke the API keys of the service",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "action", metavar="ACTION", choices=("add", "list", "revoke"), help="add, list or revoke"
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="the name of the key, for people and logs"
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        type=Path,
        default=Path("keys.json"),
        help="the file of keys; 'add' makes it, readable by its owner alone (default: keys.json)",
    )
    parser.add_argument(
        "--models",
        metavar="NAMES",
        type=_names,
        help="the models that the key may use, separated by commas (default: all)",
    )
    for name, meaning in zip(
        _LIMITS, ("requests a minute", "tokens a minute", "requests at once"), strict=True
    ):
        parser.add_argument(
            option_of(name),
            metavar="N",
            type=positive,
            help=f"the most {meaning} (default: no limit)",
        )
    parser.add_argument(
        "--expires",
        metavar="TIME",
        type=argument(expiry),
        help="when the key expires: after 90d, 12h or 30m, or at a date or time in UTC "
        "(default: never)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    if args.action == "list":
        need(args.name is None, "lanner keys list takes no NAME: it lists all keys of the file")
    else:
        need(args.name is not None, f"name the key: lanner keys {args.action} NAME")
    if args.action != "add":
        for name in _OF_ADD:
            need(
                getattr(args, name) is None, f"{option_of(name)} is an option of 'lanner keys add'"
            )
    {"add": _add, "list": _list, "revoke": _revoke}[args.action](args)


def _add(args: argparse.Namespace) -> None:
    options = {name: getattr(args, name) for name in _OF_ADD}
    token, key = add_key(args.file, args.name, **options)
    say(f"{args.file} has a new key {key.name!r}; it is shown this once:")
    if args.json:
        print_json({"key": token, **_content(key)})
    else:
        sys.stdout.write(f"{token}\n")


def _list(args: argparse.Namespace) -> None:
    keys = read_keys(args.file)
    if args.json:
        content = [{**_content(key), "valid": key.is_valid(time.time())} for key in keys]
        print_json({"file": str(args.file), "keys": content})
    elif not keys:
        say(f"{args.file} has no keys")
    else:
        head = ("name", "models", "requests/min", "tokens/min", "at once", "expires", "state")
        show(table([head, *map(_row, keys)]))


def _revoke(args: argparse.Namespace) -> None:
    key = revoke_key(args.file, args.name)
    say(f"the key {key.name!r} of {args.file} is revoked")
    if args.json:
        print_json(_content(key))


def _content(key: Key) -> dict[str, Any]:
    """Return the record of a key without its hash, which is useless to a reader."""
    return {name: value for name, value in key.to_json().items() if name != "sha256"}


def _row(key: Key) -> tuple[str, ...]:
    limits = (getattr(key, name) for name in _LIMITS)
    state = "valid" if key.is_valid(time.time()) else "expired"
    if key.revoked is not None:
        state = f"revoked {key.revoked}"
    return (
        key.name,
        "all" if key.models is None else ",".join(key.models),
        *("any" if limit is None else f"{limit:,}" for limit in limits),
        key.expires or "never",
        state,
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        msg = f"must be names of models, separated by commas, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return names
