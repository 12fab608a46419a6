"""The choice of an engine for ``engine="auto"`` on a CPU."""

from itertools import takewhile
from pathlib import Path

from lanner.artifact.manifest import Variant
from lanner.engines import registry
from lanner.engines.registry import EngineRecord
from lanner.errors import EngineError, MissingExtraError


def choose_engine(variant: Variant, file: Path | None = None) -> str:
    """Return the engine for ``engine="auto"`` on a CPU: the fastest that is installed.

    Args:
        variant: The variant.
        file: Its model file, for engines that know some graphs alone; None to assume that they
            know it.

    Raises:
        MissingExtraError: No engine is installed.
        EngineError: No installed engine runs the variant, or its answers would depend on the batch.
    """
    able = _by_preference(variant)
    if not able:
        return variant.engine
    reasons: dict[str, str] = {}
    for engine in sorted(able, key=_is_slow):
        reason = engine.reason_against(variant, file)
        if not reason:
            return engine.name
        if engine.is_installed:
            reasons[engine.name] = reason
    first, *others = [engine for engine in registry.ENGINES if engine in able]
    if not reasons:
        what, alternative = "running a model in process", others[0].extra if others else ""
        raise MissingExtraError(what, first.extra, first.modules[0], alternative=alternative)
    name, reason = reasons.popitem()
    msg = (
        f"the variant {variant.name} does not run in {name} by default, since {reason}: "
        f"pip install 'lanner[{first.extra}]', load fp32, or name engine={name!r}"
    )
    raise EngineError(msg)


def passed_over(variant: Variant, file: Path, chosen: str) -> dict[str, str]:
    """Return the engines that ``"auto"`` prefers to the chosen one, and why it took none of them.

    Args:
        variant: The variant.
        file: Its model file.
        chosen: The name of the engine that runs it.
    """
    preferred = takewhile(lambda engine: engine.name != chosen, _by_preference(variant))
    return {e.name: e.reason_against(variant, file) or e.slow_here() for e in preferred}


def _by_preference(variant: Variant) -> list[EngineRecord]:
    """Return the engines that ``"auto"`` may take for a variant on a CPU, the fastest first."""
    able = [e for e in registry.ENGINES if e.is_automatic and e.runs(variant, "cpu")]
    return sorted(able, key=lambda engine: variant.precision not in engine.best_precisions)


def _is_slow(engine: EngineRecord) -> bool:
    return engine.is_installed and bool(engine.slow_here())
