"""`lanner build-engine`: build TensorRT engines of an artifact for the GPU of this machine."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.artifact.artifact import Artifact
from lanner.artifact.buckets import parse_buckets
from lanner.artifact.engine_build import HARDWARE_COMPATIBILITIES
from lanner.commands import console, options
from lanner.commands.doctor import missing_packages
from lanner.commands.inspect import describe
from lanner.errors import EngineError, InputError, MissingExtraError, OutputError
from lanner.files.staging import NO_ROOM
from lanner.machine.gpu import missing_gpu
from lanner_export.tensorrt import (
    DEFAULT_PRECISIONS,
    PRECISIONS,
    PROFILE_KINDS,
    QUANTIZED_PRECISIONS,
)

if TYPE_CHECKING:
    from lanner_export.tensorrt.building import EngineRequest

_EXAMPLES = """\
  lanner build-engine mine.lanner
  lanner build-engine mine.lanner --precision fp16,int8 --calibration texts.txt
  lanner build-engine mine.lanner --buckets 16,32,64,128 --max-batch-size 32
  lanner build-engine mine.lanner --dry-run --write-graph build

An engine runs on the GPU model and the TensorRT version that it was built with, and is added to the
artifact as a variant whose name says so. It is only added if its answers agree with those of the
fp32 variant. --dry-run needs neither a GPU nor TensorRT.
"""
_ATTENTION = {"auto": None, "yes": True, "no": False}


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the command; see `lanner.commands`. Heavy imports wait until it runs."""
    missing = [extra for extra in ("export", "tensorrt") if missing_packages(extra)]
    parser = options.add_command(
        subparsers,
        "build-engine",
        summary="build TensorRT engines of an artifact for this machine's GPU"
        + (f" (needs: pip install 'lanner[{','.join(missing)}]')" if missing else ""),
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "artifact", metavar="DIR", type=Path, help="an artifact with an fp32 variant"
    )
    parser.add_argument(
        "--precision",
        metavar="LIST",
        type=options.some_of(PRECISIONS),
        default=DEFAULT_PRECISIONS,
        help=f"engines to build, comma-separated, of {', '.join(PRECISIONS)} "
        f"(default: {','.join(DEFAULT_PRECISIONS)}; fp8 needs an Ada or Hopper GPU, or later)",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        type=Path,
        help="texts for the ranges of int8, fp8: .txt, .csv, .jsonl (default: shipped sentences)",
    )
    parser.add_argument(
        "--quantize-attention",
        choices=tuple(_ATTENTION),
        default="auto",
        help="quantize the products of attention, too, in int8 and fp8 (default: auto: fp8 always, "
        "int8 if no input is longer than 128 tokens)",
    )
    parser.add_argument(
        "--profiles",
        choices=PROFILE_KINDS,
        default=PROFILE_KINDS[0],
        help="buckets: a profile for each of a few lengths, to which texts are padded; wide: "
        f"one for every length (default: {PROFILE_KINDS[0]})",
    )
    parser.add_argument(
        "--buckets",
        metavar="LIST",
        type=options.argument(_buckets),
        default=(),
        help="lengths in tokens, comma-separated (default: 16,24,32,48 and so on, up to the "
        "model's limit)",
    )
    parser.add_argument(
        "--max-batch-size",
        metavar="N",
        type=options.positive,
        default=64,
        help="the most texts in a batch, of all profiles (default: 64)",
    )
    parser.add_argument(
        "--typical-batch-size",
        metavar="N",
        type=options.positive,
        help="number of texts that kernels are chosen for (default: 8, or the most)",
    )
    parser.add_argument(
        "--optimization-level",
        metavar="N",
        type=int,
        choices=range(6),
        help="effort of the builder's search, 0 to 5 (default: 3)",
    )
    parser.add_argument(
        "--workspace-mib",
        metavar="N",
        type=options.positive,
        help="the most workspace memory of a layer on the GPU (default: all)",
    )
    parser.add_argument(
        "--timing-cache",
        metavar="FILE",
        type=Path,
        help="file for kernel timings, which speeds up the next build (default: none)",
    )
    parser.add_argument(
        "--version-compatible",
        action="store_true",
        help="build an engine that later versions of TensorRT also load (slower)",
    )
    parser.add_argument(
        "--hardware-compatibility",
        choices=HARDWARE_COMPATIBILITIES,
        default=HARDWARE_COMPATIBILITIES[0],
        help="other GPUs that can run it (default: none; other choices are slower)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the plan and the equivalent trtexec command"
    )
    parser.add_argument(
        "--write-graph",
        metavar="DIR",
        type=Path,
        help="with --dry-run: the directory for the graphs, for trtexec; it is made if it does not "
        "exist (default: none)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Build engines, or show the plan.

    Raises:
        UsageError: Options contradict each other.
        EngineError: There is no GPU.
        MissingExtraError: The packages of an extra are not installed.
        LannerError: See `lanner_export.tensorrt.building`.
    """
    _check_options(args)
    if not args.dry_run and (problem := missing_gpu()):
        msg = (
            f"lanner build-engine needs an NVIDIA GPU, but {problem}: run it on the machine "
            "that will run the engine, or use --dry-run to see the plan"
        )
        raise EngineError(msg)
    for extra in ("export",) if args.dry_run else ("export", "tensorrt"):
        if missing := missing_packages(extra):
            what = "lanner build-engine"
            raise MissingExtraError(what, extra, missing[0])
    if args.dry_run:
        _show(args)
    else:
        _build(args)


def _check_options(args: argparse.Namespace) -> None:
    """Check for options without effect, and that graphs can be written."""
    target, most = args.write_graph, args.max_batch_size
    options.need(
        args.dry_run or target is None,
        "--write-graph needs --dry-run: add that, or omit --write-graph",
    )
    if not set(args.precision) & set(QUANTIZED_PRECISIONS):
        given = {
            "--calibration": args.calibration is not None,
            "--quantize-attention": args.quantize_attention != "auto",
        }
        for option, is_given in given.items():
            options.need(
                not is_given,
                f"{option} is for {' and '.join(QUANTIZED_PRECISIONS)}, but --precision is "
                f"{','.join(args.precision)}: add one of them, or omit {option}",
            )
    options.need(
        args.typical_batch_size is None or args.typical_batch_size <= most,
        f"--typical-batch-size must be at most --max-batch-size, not {args.typical_batch_size} "
        f"for {most}",
    )
    options.need(
        not args.buckets or args.profiles == "buckets",
        "--buckets is for --profiles buckets: omit it, or use that",
    )
    if target is None:
        return
    if args.artifact.resolve() in (target.resolve(), *target.resolve().parents):
        msg = f"{target} is in the artifact: use a directory outside of it for --write-graph"
        raise InputError(msg)
    if target.exists() and not target.is_dir():
        msg = f"{target} is a file: use a directory for --write-graph"
        raise InputError(msg)


def _show(args: argparse.Namespace) -> None:
    with console.steps() as begin, _scratch(args.write_graph) as scratch:
        begin("importing torch and onnx")
        from lanner_export.tensorrt.building import plan_engines  # noqa: PLC0415 (takes seconds)

        artifact = Artifact.open(args.artifact)
        _warn_of_length(args, artifact)
        planned = plan_engines(artifact, _request(args), scratch, begin)
        if args.write_graph is not None:
            for item in planned:
                item.graph.replace(_path(args, item.graph.name))
    shown = [(item.plan, str(_path(args, item.graph.name))) for item in planned]
    if args.json:
        plans = [plan.to_json(graph) for plan, graph in shown]
        console.print_json({"artifact": str(args.artifact), "engines": plans})
        return
    print("\n\n".join(plan.describe(graph) for plan, graph in shown))
    if args.write_graph is None:
        console.say("the graphs were not kept: use --write-graph DIR to keep them")


def _path(args: argparse.Namespace, name: str) -> Path:
    return Path(name) if args.write_graph is None else args.write_graph / name


@contextmanager
def _scratch(target: Path | None) -> Iterator[Path]:
    """Yield a working directory, so that no half-written graph is kept.

    Raises:
        OutputError: The disk is full, or the directory cannot be written to.
    """
    place = target or Path(tempfile.gettempdir())
    is_new = not place.exists()
    try:
        try:
            place.mkdir(parents=True, exist_ok=True)
            made = tempfile.TemporaryDirectory(prefix=".lanner-", dir=place)
        except OSError as error:
            msg = (
                f"cannot write a graph into {place} ({error.strerror}): use a writable directory "
                "for --write-graph"
            )
            raise OutputError(msg) from None
        with _room("the graphs", place), made as scratch:
            yield Path(scratch)
    except BaseException:
        if is_new:
            with suppress(OSError):  # a directory that is not empty stays
                place.rmdir()
        raise


@contextmanager
def _room(what: str, place: Path) -> Iterator[None]:
    """Turn the error of a full disk into a message with the place."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        msg = f"there is no room for {what} in {place} ({error.strerror}): free space and try again"
        raise OutputError(msg) from None


def _build(args: argparse.Namespace) -> None:
    with console.steps() as begin:
        begin("importing torch and onnx")
        from lanner_export.tensorrt.building import build_engines  # noqa: PLC0415 (takes seconds)

        _warn_of_length(args, Artifact.open(args.artifact))

        def told(phase: str, done: int, count: int) -> None:
            if sys.stderr.isatty():  # a log would get thousands of lines
                begin(f"{phase}: {done} of {count}")

        with _room("another artifact", args.artifact.resolve().parent):
            artifact = build_engines(args.artifact, _request(args), begin, told)
    quality = artifact.quality()
    if args.json:
        engines = [v.name for v in artifact.manifest.variants if v.engine == "tensorrt"]
        console.print_json({"artifact": str(args.artifact), "engines": engines, "quality": quality})
    else:
        console.show(describe(artifact, quality))


def _warn_of_length(args: argparse.Namespace, artifact: "Artifact") -> None:
    limit = artifact.manifest.tokenizer.max_tokens
    if args.buckets and limit is not None and args.buckets[-1] < limit:
        console.say(
            f"lanner: warning: the longest bucket is {args.buckets[-1]}, but the model takes "
            f"{limit} tokens: the engines refuse longer texts, and are not picked by default"
        )


def _request(args: argparse.Namespace) -> "EngineRequest":
    from lanner_export.tensorrt.build_plan import BuildSettings  # noqa: PLC0415
    from lanner_export.tensorrt.building import EngineRequest  # noqa: PLC0415
    from lanner_export.tensorrt.profiles import DEFAULT_TYPICAL_BATCH_SIZE  # noqa: PLC0415
    from lanner_export.texts.calibration import calibration_texts  # noqa: PLC0415

    return EngineRequest(
        precisions=args.precision,
        calibration=calibration_texts(args.calibration),
        profiles=args.profiles,
        buckets=args.buckets,
        max_batch_size=args.max_batch_size,
        typical_batch_size=args.typical_batch_size or DEFAULT_TYPICAL_BATCH_SIZE,
        quantizes_attention=_ATTENTION[args.quantize_attention],
        settings=BuildSettings(
            optimization_level=args.optimization_level,
            workspace_mib=args.workspace_mib,
            is_version_compatible=args.version_compatible,
            hardware_compatibility=args.hardware_compatibility,
            timing_cache=args.timing_cache,
        ),
    )


def _buckets(text: str) -> tuple[int, ...]:
    found = parse_buckets(text)
    if not found:
        msg = f"{text!r}: use lengths in tokens, comma-separated"
        raise InputError(msg)
    return found
