"""The service: HTTP in front of models in process or on a Triton server."""
