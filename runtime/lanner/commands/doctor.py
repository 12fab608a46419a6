"""`lanner doctor`: show what this machine can run, and what is missing."""

import argparse
import shutil

from lanner._version import __version__
from lanner.commands.console import print_json, table
from lanner.commands.options import Subparsers, add_command
from lanner.engines import ENGINES
from lanner.engines.registry import NATIVE, NATIVE_BF16
from lanner.engines.tensorrt.library import tensorrt_version
from lanner.errors import EngineError, LannerError, ServerError
from lanner.machine.extras import extras, has_package
from lanner.machine.gpu import missing_gpu, this_gpu
from lanner.machine.machine import (
    package_versions,
    this_machine,
)
from lanner.triton.server.installation import find_tritonserver

#: The module of ONNX Runtime has the same name with and without CUDA.
_GPU_PACKAGE = "onnxruntime-gpu"
_PACKAGES = (
    "numpy",
    "tokenizers",
    *(package for engine in ENGINES for package in engine.packages),
    "torch",
    "transformers",
    "sentence-transformers",
    "optimum",
    "onnx",
    "cuda-bindings",
    "lanner-bench",
)


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "doctor",
        summary="show what this machine can run, and what is missing",
        examples="  lanner doctor\n  lanner doctor --json\n",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    machine, gpu = this_machine(), this_gpu()
    missing = {extra: missing_packages(extra) for extra in extras()}
    versions = {"lanner": __version__, **package_versions(*_PACKAGES)}
    if args.json:
        print_json(
            {
                "machine": machine.to_json(),
                "default_precision": default_precision(),
                "bf16": machine.has_bf16,
                "engines": installed_engines(),
                "engines_refused_here": refused_engines(),
                "native_instruction_sets": native_instruction_sets(),
                "versions": versions,
                "missing": missing,
                "nvidia_driver": has_nvidia_driver(),
                "gpu": None if gpu is None else gpu.to_json(),
                "tensorrt": tensorrt_here()[0],
                "tritonserver": tritonserver(),
            }
        )
        return
    rows: list[tuple[object, ...]] = [("extra", "state")]
    rows += [
        (extra, f"missing {', '.join(names)}: pip install 'lanner[{extra}]'" if names else "ok")
        for extra, names in missing.items()
    ]
    print(
        "\n".join(
            [
                f"cpu        {machine.cpu}, {machine.cores} cores for this process",
                f"           {' '.join(machine.cpu_flags) or 'no notable vector instructions'}",
                f"memory     {machine.memory_bytes / 2**30:.1f} GiB",
                f"gpu        {gpu or f'none: {missing_gpu()}'}",
                *([f"tensorrt   {' '.join(filter(None, tensorrt_here()))}"] if gpu else []),
                f"precision  {default_precision()} by default, {_why()}",
                f"bf16       {_bf16()}",
                f"engines    {_engines()}",
                *(f"           native {line}" for line in _native()),
                f"triton     {_triton()}",
                f"versions   {', '.join(f'{k} {v}' for k, v in versions.items())}",
                "",
                table(rows),
            ]
        )
    )


def missing_packages(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [package for package in extras().get(extra, ()) if not _is_installed(package)]


def _is_installed(package: str) -> bool:
    if has_package(package):
        return True
    # A package of another name may bring the same engine.
    engine = next((engine for engine in ENGINES if package in engine.packages), None)
    return engine is not None and engine.is_installed and package != _GPU_PACKAGE


def installed_engines() -> dict[str, str]:
    """Return the installed engines and their versions."""
    found = {engine.name: engine.version for engine in ENGINES if engine.runs_graphs}
    return {name: version for name, version in found.items() if version is not None}


def refused_engines() -> dict[str, str]:
    """Return the engines that do not run on this machine, with the reasons."""
    found = {engine.name: engine.refusal() for engine in ENGINES}
    return {name: reason for name, reason in found.items() if reason}


def native_instruction_sets() -> dict[str, bool]:
    """Return the instruction sets of the native engine that this processor has.

    True for a set whose self-test gave the bits of plain C++; a set that fails is never used.
    """
    if not NATIVE.is_installed:
        return {}
    try:
        from lanner.engines.native.engine import instruction_sets  # noqa: PLC0415 (an extra)
    except EngineError:  # of another version, as `lanner doctor` says elsewhere
        return {}
    return {item.name: item.is_correct for item in instruction_sets() if item.runs_here}


def default_precision() -> str:
    """Return the precision that `variant="auto"` prefers on a CPU."""
    return "int8"


def has_nvidia_driver() -> bool:
    """Return whether the tool of the NVIDIA driver is installed."""
    return shutil.which("nvidia-smi") is not None


def tensorrt_here() -> tuple[str | None, str]:
    """Return the version of TensorRT that can be loaded, or None, and the reason."""
    if this_gpu() is None:
        return None, missing_gpu()
    try:
        return tensorrt_version(), ""
    except LannerError as error:
        return None, str(error)


def tritonserver() -> str | None:
    """Return the tritonserver that 'lanner serve' would start, or None."""
    try:
        return str(find_tritonserver().binary)
    except ServerError:
        return None


def _triton() -> str:
    try:
        found = find_tritonserver()
    except ServerError as error:
        return str(error)
    return f"{found.binary}, by {found.found}"


def _engines() -> str:
    found = [f"{name} {version}" for name, version in installed_engines().items()]
    graphs = [engine for engine in ENGINES if engine.runs_graphs]
    hint = " or ".join(f"pip install 'lanner[{engine.extra}]'" for engine in graphs)
    return ", ".join(found) or f"none: {hint}"


def _native() -> list[str]:
    found = native_instruction_sets()
    passed = [name for name, is_correct in found.items() if is_correct]
    failed = [name for name, is_correct in found.items() if not is_correct]
    lines = [f"uses {passed[0]}; passed their self-test: {', '.join(passed)}"] if passed else []
    return lines + [f"FAILED the self-test and are not used: {', '.join(failed)}"] * bool(failed)


def _bf16() -> str:
    if not this_machine().has_bf16:
        shown = "this CPU does not multiply it (neither AVX-512 BF16 nor AMX)"
    else:
        shown = "this CPU multiplies it (AVX-512 or AMX): the variant bf16 runs in openvino"
    return f"{shown}{_native_bf16()}"


def _native_bf16() -> str:
    reason = NATIVE_BF16.refusal()
    name = NATIVE_BF16.name
    if reason:
        return f"; {name} does not run, since {reason}"
    return f", and fp32 in {name} with its products in bf16"


def _why() -> str:
    """Return the engine that `engine="auto"` takes for int8 here, and why not the native one."""
    if not NATIVE.is_installed:
        reason = "lanner-native, which is usually the fastest, is not installed"
    elif reason := NATIVE.slow_here():
        reason = f"{NATIVE.name} is not taken, since {reason}"
    else:
        return f"in {NATIVE.name}, for each encoder that it knows"
    found = [e.name for e in ENGINES if e.is_automatic and e.runs_graphs and e.is_installed]
    others = [name for name in found if name != NATIVE.name]
    return f"in {others[0]}; {reason}" if others else reason
