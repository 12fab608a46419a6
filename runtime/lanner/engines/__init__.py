"""The engines that run variants. Each has a record in `lanner.engines.registry`."""

from lanner.engines.protocol import Engine
from lanner.engines.registry import (
    DEVICES,
    ENGINES,
    EngineRecord,
    choose_engine,
    engine_names,
    find_engine,
    open_engine,
)

__all__ = [
    "DEVICES",
    "ENGINES",
    "Engine",
    "EngineRecord",
    "choose_engine",
    "engine_names",
    "find_engine",
    "open_engine",
]
