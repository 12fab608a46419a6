"""Triton: the repository that it serves, the server itself, and the models that run inside it."""
