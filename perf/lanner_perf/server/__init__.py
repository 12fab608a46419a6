"""Benchmarks of a model on a Triton server, or of services, beside the model in process."""
