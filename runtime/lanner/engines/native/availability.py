"""The reasons why ``engine="auto"`` does not take the native engine."""

from functools import lru_cache
from pathlib import Path

from lanner.errors import EngineError, MissingExtraError
from lanner.machine.file_state import FileState, file_state

#: Always there, and several times slower than another engine's own kernels.
_PLAIN = "plain"


def why_not(file: Path) -> str:
    """Return the reason why the engine does not run a model file, or an empty string."""
    try:
        state = file_state(file)
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    return _refusal(file, state)


@lru_cache(maxsize=64)
def _refusal(file: Path, _: FileState) -> str:
    from lanner.engines.native.plan import REMEDY  # noqa: PLC0415 (for who asks)
    from lanner.engines.native.reading import look_at_plan  # noqa: PLC0415

    try:
        look_at_plan(file)
    except EngineError as error:
        return str(error).removeprefix(f"{file}: ").removesuffix(REMEDY)
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    return ""


def why_no_bf16() -> str:
    """Return the reason why the installed engine does not run bf16 here, or an empty string."""
    try:
        from lanner.engines.native.engine import instruction_sets  # noqa: PLC0415 (an extra)
    except MissingExtraError:  # as is said before anything else
        return ""
    except EngineError as error:
        return str(error)
    able = [item for item in instruction_sets() if item.has_bf16 and item.name != _PLAIN]
    if any(item.is_bf16_correct for item in able):
        return ""
    if able:
        return f"the self-test of {', '.join(item.name for item in able)} with bf16 failed"
    return "this processor does not multiply bf16 in AMX, as Intel's since Sapphire Rapids do"


def why_slow() -> str:
    """Return the reason why the installed engine would run in plain C++, or an empty string."""
    try:
        from lanner.engines.native.engine import instruction_sets  # noqa: PLC0415 (an extra)
    except (MissingExtraError, EngineError) as error:
        return str(error)
    fast = [item for item in instruction_sets() if item.runs_here and item.name != _PLAIN]
    if any(item.is_correct for item in fast):
        return ""
    failed = ", ".join(item.name for item in fast)
    return f"the self-test of {failed} failed" if failed else "it has no kernels for this processor"
