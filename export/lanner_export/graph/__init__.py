"""The ONNX graph: tracing, rewriting and counting operators."""
