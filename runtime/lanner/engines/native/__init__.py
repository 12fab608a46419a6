"""The engine with Lanner's own CPU kernels: an ONNX graph becomes a plan, and the plan runs."""
