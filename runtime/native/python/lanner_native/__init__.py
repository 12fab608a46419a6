"""The CPU kernels of Lanner's native engine. Use them through ``lanner.load(engine="native")``."""

from lanner_native._core import Model, NativeError, instruction_sets

__all__ = ["Model", "NativeError", "instruction_sets"]
