"""The engines that run variants. Each has a record in `lanner.engines.registry`."""

from lanner.engines.choice import choose_engine, passed_over
from lanner.engines.native.plan import STARTS
from lanner.engines.protocol import Engine
from lanner.engines.registry import (
    DEVICES,
    ENGINES,
    EngineRecord,
    engine_names,
    find_engine,
    open_engine,
)

__all__ = [
    "DEVICES",
    "ENGINES",
    "STARTS",
    "Engine",
    "EngineRecord",
    "choose_engine",
    "engine_names",
    "find_engine",
    "open_engine",
    "passed_over",
]
