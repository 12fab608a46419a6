"""`lanner build-engine`: TensorRT engines of an artifact, for the GPU of this machine."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner.commands import common
from lanner.commands.doctor import missing_modules
from lanner.commands.inspect import describe
from lanner.engine_build import HARDWARE_COMPATIBILITIES
from lanner.errors import EngineError, InputError, MissingExtraError
from lanner.gpu import missing_gpu
from lanner.triton.buckets import parse_buckets
from lanner_export.tensorrt import DEFAULT_PRECISIONS, PRECISIONS, PROFILE_KINDS

if TYPE_CHECKING:
    from lanner_export.tensorrt.building import EngineRequest

_EXAMPLES = """\
  lanner build-engine mine.lanner
  lanner build-engine mine.lanner --precision fp16,int8 --calibration texts.txt
  lanner build-engine mine.lanner --buckets 16,32,64,128 --max-batch-size 32
  lanner build-engine mine.lanner --dry-run --write-graph build

An engine runs on the kind of GPU and the version of TensorRT that it was built with, and is added
to the artifact as a variant whose name says so. One that does not answer as the fp32 variant does
is not added. --dry-run needs neither a GPU nor TensorRT.
"""
_ATTENTION = {"auto": None, "yes": True, "no": False}


def add_parser(subparsers: common.Subparsers) -> None:
    """See `lanner.commands`. Nothing heavy is imported before the command runs."""
    missing = [extra for extra in ("export", "tensorrt") if missing_modules()[extra]]
    parser = common.add_command(
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
        type=common.some_of(PRECISIONS),
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
        help="whether int8 and fp8 are the products of attention, too (default: auto, fp8 always, "
        "int8 where no input is longer than 128 tokens)",
    )
    parser.add_argument(
        "--profiles",
        choices=PROFILE_KINDS,
        default=PROFILE_KINDS[0],
        help="buckets: a profile for each of a few lengths, to which texts are filled up; wide: "
        f"one for every length (default: {PROFILE_KINDS[0]})",
    )
    parser.add_argument(
        "--buckets",
        metavar="LIST",
        type=_buckets,
        default=(),
        help="lengths in tokens, comma-separated (default: 16,24,32,48 and so on, up to the "
        "model's limit)",
    )
    parser.add_argument(
        "--max-batch-size",
        metavar="N",
        type=common.positive,
        default=64,
        help="the most texts in a batch, of all profiles (default: 64)",
    )
    parser.add_argument(
        "--typical-batch-size",
        metavar="N",
        type=common.positive,
        default=8,
        help="what kernels are chosen for (default: 8)",
    )
    parser.add_argument(
        "--optimization-level",
        metavar="N",
        type=int,
        choices=range(6),
        help="how long the builder searches, 0 to 5 (default: its own, 3)",
    )
    parser.add_argument(
        "--workspace-mib",
        metavar="N",
        type=common.positive,
        help="the most GPU memory that a layer may take for itself (default: all there is)",
    )
    parser.add_argument(
        "--timing-cache",
        metavar="FILE",
        type=Path,
        help="keeps what the builder timed, so that the next engine takes less (default: none)",
    )
    parser.add_argument(
        "--version-compatible",
        action="store_true",
        help="an engine that later versions of TensorRT load, too (slower)",
    )
    parser.add_argument(
        "--hardware-compatibility",
        choices=HARDWARE_COMPATIBILITIES,
        default=HARDWARE_COMPATIBILITIES[0],
        help="which other GPUs run it, too (default: none; others are slower)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be built, and as trtexec would"
    )
    parser.add_argument(
        "--write-graph",
        metavar="DIR",
        type=Path,
        help="with --dry-run: where the graphs go, of which trtexec builds (default: nowhere)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Builds, or shows what would be built.

    Raises:
        UsageError: Options do not go together.
        EngineError: There is no GPU.
        MissingExtraError: The packages of an extra are not installed.
        LannerError: See `lanner_export.tensorrt.building`.
    """
    common.need(args.dry_run or args.write_graph is None, "--write-graph goes with --dry-run")
    if not args.dry_run and (problem := missing_gpu()):
        msg = (
            f"lanner build-engine needs an NVIDIA GPU, and {problem}: run it where the engine is "
            "to run, or pass --dry-run to see what would be built"
        )
        raise EngineError(msg)
    missing = missing_modules()
    for extra in ("export",) if args.dry_run else ("export", "tensorrt"):
        if missing[extra]:
            what = "lanner build-engine"
            raise MissingExtraError(what, extra, missing[extra][0])
    if args.dry_run:
        _show(args)
    else:
        _build(args)


def _show(args: argparse.Namespace) -> None:
    with common.steps() as begin, tempfile.TemporaryDirectory(prefix="lanner-") as scratch:
        begin("importing torch and onnx")
        from lanner.loading import open_artifact  # noqa: PLC0415 (takes seconds)
        from lanner_export.tensorrt.building import plan_engines  # noqa: PLC0415

        directory = args.write_graph or Path(scratch)
        if not directory.is_dir():
            msg = f"there is no directory {directory} for the graphs: make it first"
            raise InputError(msg)
        planned = plan_engines(open_artifact(args.artifact), _request(args), directory, begin)
    shown = [(item.plan, str(_path(args, item.graph.name))) for item in planned]
    if args.json:
        plans = [plan.to_json(graph) for plan, graph in shown]
        common.print_json({"artifact": str(args.artifact), "engines": plans})
        return
    print("\n\n".join(plan.describe(graph) for plan, graph in shown))
    if args.write_graph is None:
        common.say("the graphs were not kept: --write-graph DIR does")


def _path(args: argparse.Namespace, name: str) -> Path:
    return Path(name) if args.write_graph is None else args.write_graph / name


def _build(args: argparse.Namespace) -> None:
    with common.steps() as begin:
        begin("importing torch and onnx")
        from lanner_export.tensorrt.building import build_engines  # noqa: PLC0415 (takes seconds)

        def told(phase: str, done: int, count: int) -> None:
            if sys.stderr.isatty():  # in a log, a line a step would be thousands
                begin(f"{phase}: {done} of {count}")

        artifact = build_engines(args.artifact, _request(args), begin, told)
    quality = artifact.quality()
    if args.json:
        engines = [v.name for v in artifact.manifest.variants if v.engine == "tensorrt"]
        common.print_json({"artifact": str(args.artifact), "engines": engines, "quality": quality})
    else:
        print(describe(artifact, quality))


def _request(args: argparse.Namespace) -> "EngineRequest":
    from lanner_export.calibration import calibration_texts  # noqa: PLC0415
    from lanner_export.tensorrt.building import EngineRequest  # noqa: PLC0415
    from lanner_export.tensorrt.plan import BuildSettings  # noqa: PLC0415

    return EngineRequest(
        precisions=args.precision,
        calibration=calibration_texts(args.calibration),
        profiles=args.profiles,
        buckets=args.buckets,
        max_batch_size=args.max_batch_size,
        typical_batch_size=args.typical_batch_size,
        quantizes_attention=_ATTENTION[args.quantize_attention],
        settings=BuildSettings(
            optimization_level=args.optimization_level,
            workspace_mib=args.workspace_mib,
            is_version_compatible=args.version_compatible,
            hardware_compatibility=args.hardware_compatibility,
            timing_cache=args.timing_cache,
        ),
    )


def _buckets(text: str) -> Any:
    try:
        found = parse_buckets(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not found:
        msg = f"{text!r}: use lengths in tokens, comma-separated"
        raise argparse.ArgumentTypeError(msg)
    return found
