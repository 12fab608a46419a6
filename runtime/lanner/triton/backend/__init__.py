"""The Python backend: runs inside a Triton server."""
