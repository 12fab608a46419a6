"""The CPU kernels of Lanner's native engine. Use them through ``lanner.load(engine="native")``."""

from lanner_native._core import INTERFACE, Model, NativeError, instruction_sets

__all__ = ["INTERFACE", "Model", "NativeError", "instruction_sets"]
