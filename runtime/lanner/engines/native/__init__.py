"""The engine with Lanner's own CPU kernels: an ONNX graph becomes a plan, and the plan runs."""

#: The variable of the environment that names the instruction set of every model, for measurements:
#: programs that a measurement starts, such as `lanner serve`, are held to it, too.
INSTRUCTIONS_VARIABLE = "LANNER_NATIVE_INSTRUCTIONS"
