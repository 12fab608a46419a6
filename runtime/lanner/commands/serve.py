"""`lanner serve`: serve a model repository with a Triton server."""

import argparse
import sys

from lanner.commands.console import print_json, say
from lanner.commands.options import Subparsers, add_command
from lanner.errors import ArtifactError, ServerError
from lanner.triton.contract.served_model import ServedModel
from lanner.triton.contract.tensors import TEXT_SUFFIX
from lanner.triton.server.ports import DEFAULT_PORTS
from lanner.triton.server.releases import vulnerability
from lanner.triton.server.server import GRACE_S, READY_TIMEOUT_S, TritonServer
from lanner.triton.server.server_options import LOOPBACK

_EXAMPLES = f"""\
  lanner serve repository
  lanner serve repository --http-port 0 --grpc-port 0 --metrics-port 0 --json
  lanner serve repository -- --model-control-mode=poll --log-verbose=1
  lanner serve repository --host 0.0.0.0
  lanner serve repository -- --grpc-use-ssl=1 --grpc-server-cert=a.pem --grpc-server-key=a.key

Arguments after -- go to tritonserver unchanged (tritonserver --help). Its log is on stderr.

Ctrl-C or SIGTERM stops the server: requests in flight, and clients with an open HTTP connection,
have {GRACE_S} s (-- --exit-timeout-secs=N); a second signal ends it at once.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "serve",
        summary="serve a model repository with a Triton server",
        examples=_EXAMPLES,
    )
    parser.usage = "%(prog)s REPO [options] [-- TRITON OPTIONS]"
    parser.rest = "triton_options"
    parser.add_argument(
        "repository", metavar="REPO", help="a repository that 'lanner repository' made"
    )
    for name, port in DEFAULT_PORTS.items():
        parser.add_argument(
            f"--{name}-port",
            metavar="N",
            type=_port,
            default=port,
            help=f"0 takes a free one (default: {port})",
        )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default=LOOPBACK,
        help="the address to listen on; 0.0.0.0 admits other machines "
        f"(default: {LOOPBACK}, only this machine)",
    )
    parser.add_argument(
        "--ready-timeout",
        metavar="S",
        type=_seconds,
        default=READY_TIMEOUT_S,
        help=f"the most seconds for loading the models (default: {READY_TIMEOUT_S:g})",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the unchanged log of tritonserver"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    server = TritonServer(
        args.repository,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        host=args.host,
        options=args.triton_options,
        ready_timeout_s=args.ready_timeout,
        tell=say,
        verbose=args.verbose,
    )
    try:
        server.start()
        _announce(server, as_json=args.json)
        server.wait()
    except (KeyboardInterrupt, SystemExit):
        # Running until it is told to stop is success for a server.
        say("stopping; Ctrl-C again does not wait for requests in flight")
    finally:
        server.stop()


def _announce(server: TritonServer, *, as_json: bool) -> None:
    models = server.models()
    for model in models:
        state = model.get("state", "not loaded").lower()
        reason = f": {model['reason']}" if model.get("reason") else ""
        say(f"{' version '.join(_name_and_version(model))} is {state}{reason}")
    say(f"ready: {server.http_url}, {server.grpc_url}, {server.metrics_url}")
    for line in (*_warnings(server), *_python(server, models)):
        say(line)
    if as_json:
        print_json(
            {
                "http_url": server.http_url,
                "grpc_url": server.grpc_url,
                "metrics_url": server.metrics_url,
                "pid": server.pid,
                "models": models,
            }
        )
        sys.stdout.flush()  # a reader waits for this line while the command keeps running


def _warnings(server: TritonServer) -> list[str]:
    """Return warnings about the server's security."""
    found = vulnerability(server.version())
    warnings = [] if found is None else [f"warning: {found}"]
    if server.is_public:
        warnings.append(
            "warning: other machines can reach the server, and it requires no key: put a proxy "
            "that does in front, or omit --host"
        )
    return warnings


def _name_and_version(model: dict[str, str]) -> list[str]:
    return [model[key] for key in ("name", "version") if key in model]


def _python(server: TritonServer, models: list[dict[str, str]]) -> list[str]:
    """Return example code for the first model that Lanner made."""
    ready = [model for model in models if model.get("state") == "READY"]
    for model in sorted(ready, key=lambda one: one["name"].endswith(TEXT_SUFFIX)):
        name, version = model["name"], model["version"]
        try:
            served = ServedModel.of(name, version, server.configuration(name))
            with served.artifact() as artifact:
                call = artifact.manifest.head_record.call
        except (ServerError, ArtifactError, KeyError):  # not a model of Lanner's
            continue
        trusted = ', root_certificates="ca.pem"' if server.grpc_url.startswith("grpcs:") else ""
        connect = f'model = lanner.connect("{server.grpc_url}", "{name}"{trusted})'
        return ["", "import lanner", connect, call, ""]
    return []


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 2**16:
        return int(text)
    msg = f"must be a port, 0 to 65535, not {text!r}"
    raise argparse.ArgumentTypeError(msg)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if 0 < value < float("inf"):
        return value
    msg = f"must be a number of seconds, not {text!r}"
    raise argparse.ArgumentTypeError(msg)
