"""`lanner serve`: the service, for models in process or on a Triton server."""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, Field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner.commands.console import print_json, say
from lanner.commands.options import Parser, Subparsers, add_command, need, option_of
from lanner.errors import ArtifactError, LannerError, ServerError, UsageError
from lanner.service import protection
from lanner.service.access.log import json_line
from lanner.service.known_answers import write_known_answers
from lanner.service.settings import PREFIX, Settings
from lanner.service.targets import check_artifacts, is_artifact, is_url, require_targets
from lanner.triton.contract.served_model import ServedModel
from lanner.triton.contract.tensors import TEXT_SUFFIX
from lanner.triton.server.ports import DEFAULT_PORTS
from lanner.triton.server.releases import vulnerability
from lanner.triton.server.served_repository import require_repository
from lanner.triton.server.server import GRACE_S, READY_TIMEOUT_S, TritonServer
from lanner.triton.server.server_options import LOOPBACK

if TYPE_CHECKING:
    from lanner.service.app import App

_EXAMPLES = f"""\
  lanner serve minilm.lanner
  lanner serve minilm.lanner reranker=models/ms-marco.lanner --port 8080
  lanner serve repository                             a Triton server, and the service before it
  lanner serve minilm=grpc://triton:8001              the service before a running server
  lanner serve minilm=grpcs://triton:8001 --root-certificates ca.pem
  lanner serve minilm.lanner --write-canary canary.json
  lanner serve minilm.lanner --canary canary.json     watches that the vectors stay the same
  lanner serve --config service.toml --check-config
  lanner serve repository --no-api                    a Triton server alone
  lanner serve repository --no-api -- --model-control-mode=poll --log-verbose=1
  lanner serve repository --root-certificates ca.pem -- \\
      --grpc-use-ssl=1 --grpc-server-cert=a.pem --grpc-server-key=a.key

The service speaks the dialects of OpenAI, TEI, Cohere, Jina and KServe: http://localhost:8080/docs
shows its routes. Every option that has a default can also be set in the file of --config, with
underscores, or in the environment as {PREFIX}PORT and so on; options win.

Arguments after -- go to tritonserver unchanged (tritonserver --help). Its log is on stderr.

Ctrl-C or SIGTERM stops the service: requests in flight have --drain-s seconds. A Triton server
gives them, and clients that keep a connection open, {GRACE_S} s (-- --exit-timeout-secs=N). A
second signal ends it at once.
"""
#: Settings that have another form on the command line.
_NOT_FLAGS = ("models", "aliases")


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "serve",
        summary="serve models over HTTP to the clients of OpenAI, TEI, Cohere, Jina and KServe",
        examples=_EXAMPLES,
    )
    parser.usage = "%(prog)s [NAME=]TARGET... [options] [-- TRITON OPTIONS]"
    parser.rest = "triton_options"
    parser.add_argument(
        "targets",
        metavar="TARGET",
        nargs="*",
        help="artifacts, a Triton repository that 'lanner repository' made, or addresses "
        "(grpc://HOST:PORT/MODEL) of a running server",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="a TOML file with the settings")
    parser.add_argument(
        "--check-config", action="store_true", help="check the settings, and serve nothing"
    )
    parser.add_argument(
        "--write-canary",
        metavar="FILE",
        type=Path,
        help="write the answers of the models to five texts for --canary, and serve nothing",
    )
    parser.add_argument(
        "--alias",
        metavar="ALIAS=MODEL",
        action="append",
        help="another name of a model for clients, perhaps with a prompt (MODEL:PROMPT)",
    )
    for one in fields(Settings):
        if one.name not in _NOT_FLAGS:
            _add_setting(parser, one)
    parser.add_argument(
        "--no-api", action="store_true", help="a Triton server alone, without the service"
    )
    for name, port in DEFAULT_PORTS.items():
        parser.add_argument(
            f"--triton-{name}-port",
            f"--{name}-port",
            dest=f"{name}_port",
            metavar="N",
            type=_port,
            default=port,
            help=f"of the Triton server; 0 takes a free one (default: {port})",
        )
    parser.add_argument(
        "--ready-timeout",
        metavar="S",
        type=_seconds,
        default=READY_TIMEOUT_S,
        help="the most seconds for the Triton server to load the models "
        f"(default: {READY_TIMEOUT_S:g})",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the unchanged log of tritonserver"
    )
    parser.set_defaults(run=run)


def _add_setting(parser: Parser, setting: "Field[Any]") -> None:
    """Add the flag of a setting; without it the file, the environment or the default counts."""
    said, default = setting.metadata["help"], setting.default
    if isinstance(default, bool):
        parser.add_argument(
            option_of(setting.name), action=argparse.BooleanOptionalAction, help=said
        )
        return
    is_list = isinstance(default, tuple)
    if default is not None and default is not MISSING and not is_list:
        said += f" (default: {default})"
    parser.add_argument(
        option_of(setting.name),
        metavar=setting.metadata["metavar"],
        action="append" if is_list else "store",
        help=said,
    )


def run(args: argparse.Namespace) -> None:
    flags = {
        one.name: getattr(args, one.name) for one in fields(Settings) if one.name not in _NOT_FLAGS
    }
    settings = Settings.read(file=args.config, flags=flags, targets=args.targets)
    if args.alias:
        settings = settings.with_aliases(args.alias)
    repository = _repository(settings)
    need(repository is not None or not args.no_api, "--no-api needs a Triton repository")
    need(repository is not None or not args.triton_options, "options after -- are for a repository")
    if repository is None:
        require_targets(settings)
    else:
        require_repository(Path(repository))
    check_artifacts(settings)
    protection.check(settings)
    if args.check_config:
        say(f"the settings are valid: {', '.join(settings.models)} on port {settings.port}")
        if args.json:
            print_json({"valid": True, "models": settings.models})
    elif args.write_canary is not None:
        need(repository is None, "--write-canary needs artifacts or addresses of a server")
        write_known_answers(settings, args.write_canary)
        say(f"{args.write_canary} has the answers of {', '.join(settings.models)}")
        if args.json:
            print_json({"canary": str(args.write_canary), "models": list(settings.models)})
    elif repository is None:
        _serve(settings, {}, as_json=args.json)
    else:
        _serve_repository(args, repository, settings)


def _repository(settings: Settings) -> str | None:
    """Return the only target if it is neither an artifact nor an address."""
    targets = list(settings.models.values())
    if len(targets) == 1 and not is_url(targets[0]) and not is_artifact(targets[0]):
        return targets[0]
    return None


def _serve_repository(args: argparse.Namespace, repository: str, settings: Settings) -> None:
    if not args.no_api:
        import_module("lanner.service.server")  # report a missing extra before a server starts
    server = TritonServer(
        repository,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        host=settings.host if args.no_api else LOOPBACK,
        options=args.triton_options,
        ready_timeout_s=args.ready_timeout,
        tell=say,
        verbose=args.verbose,
    )
    try:
        server.start()
        said = _announce(server)
        if args.no_api:
            _print(said, as_json=args.json)
            server.wait()
        else:
            _serve(_before(server, settings), said, as_json=args.json, server=server)
    except (KeyboardInterrupt, SystemExit):
        # A server that runs until it is stopped has succeeded.
        say("stopping; Ctrl-C again does not wait for requests in flight")
    finally:
        server.stop()


def _before(server: TritonServer, settings: Settings) -> Settings:
    """Return the settings of a service in front of the models of a Triton server.

    Raises:
        UsageError: The server has no model that Lanner made, or none that takes tokens.
    """
    made = dict(_made_by_lanner(server))
    names = [name for name, served in made.items() if not served.takes_texts]
    if made and not names:
        msg = (
            f"{server.repository} has only models that tokenise on the server ({', '.join(made)}), "
            "and the service counts and cuts tokens itself: make the token models beside them "
            "again with 'lanner repository', or pass --no-api to run the Triton server alone"
        )
        raise UsageError(msg)
    if not names:
        msg = (
            f"{server.repository} has no model that 'lanner repository' made, which the service "
            "needs: pass --no-api to run the Triton server alone"
        )
        raise UsageError(msg)
    urls = {name: f"{server.grpc_url}/{name}" for name in names}
    metrics = settings.triton_metrics or server.metrics_url
    settings = replace(settings, models=urls, triton_metrics=metrics).checked()
    require_targets(settings)
    return settings


def _serve(
    settings: Settings, said: dict[str, Any], *, as_json: bool, server: TritonServer | None = None
) -> None:
    """Run the service until it is stopped."""
    from lanner.service.server import Door  # noqa: PLC0415 (an extra)

    door = Door(settings)

    def tell(app: "App | None") -> None:
        models = list(settings.models) if app is None else app.describe()
        lines = [f"model {one}" for one in (models if app is None else app.pipeline.catalogue)]
        lines.append(f"ready: {door.url}")
        admin = {} if door.admin_url is None else {"admin_url": door.admin_url}
        lines += [f"admin routes: {url}" for url in admin.values()]
        if settings.is_public and settings.keys is None:
            lines.append("warning: other machines can reach the service, and it requires no key")
        for line in lines:
            say(json_line("info", line) if settings.log == "json" else line)
        shown = {"url": door.url, **admin, "pid": os.getpid(), "models": models, **said}
        _print(shown, as_json=as_json)

    try:
        with _watched(server, door.stop):
            door.serve(tell)
    except (KeyboardInterrupt, SystemExit):
        if server is not None:
            raise


@contextmanager
def _watched(server: TritonServer | None, stop: Callable[[], None]) -> Iterator[None]:
    """Stop the service when its Triton server ends, and raise the reason.

    Raises:
        ServerError: The server ended by itself.
    """
    reasons: list[LannerError] = []

    def watch() -> None:
        if server is not None:
            try:
                server.wait()
            except ServerError as error:
                reasons.append(error)
                stop()

    threading.Thread(target=watch, name="triton-watch", daemon=True).start()
    yield
    if reasons:
        raise reasons[0]


def _print(said: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(said)
        sys.stdout.flush()  # a reader waits for this line while the command keeps running


def _announce(server: TritonServer) -> dict[str, Any]:
    """Describe what a Triton server serves to people, and return the same for programs."""
    models = server.models()
    for model in models:
        state = model.get("state", "not loaded").lower()
        reason = f": {model['reason']}" if model.get("reason") else ""
        say(f"{' version '.join(_name_and_version(model))} is {state}{reason}")
    say(f"ready: {server.http_url}, {server.grpc_url}, {server.metrics_url}")
    for line in (*_warnings(server), *_python(server, models)):
        say(line)
    return {
        "http_url": server.http_url,
        "grpc_url": server.grpc_url,
        "metrics_url": server.metrics_url,
        "pid": server.pid,
        "models": models,
    }


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


def _made_by_lanner(
    server: TritonServer, models: list[dict[str, str]] | None = None
) -> Iterator[tuple[str, ServedModel]]:
    """Yield the models that Lanner made, token models first."""
    models = server.models() if models is None else models
    ready = [model for model in models if model.get("state") == "READY"]
    for model in sorted(ready, key=lambda one: one["name"].endswith(TEXT_SUFFIX)):
        name = model["name"]
        with suppress(ServerError, ArtifactError, KeyError):  # not one of Lanner's models
            served = ServedModel.of(name, model["version"], server.configuration(name))
            with served.artifact():
                pass
            yield name, served


def _python(server: TritonServer, models: list[dict[str, str]]) -> list[str]:
    """Return example code for the first model that Lanner made."""
    for name, served in _made_by_lanner(server, models):
        with served.artifact() as artifact:
            call = artifact.manifest.head_record.call
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
