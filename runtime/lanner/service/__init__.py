"""The service: the HTTP front door before models in process or on a Triton server."""
