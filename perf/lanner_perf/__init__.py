"""Benchmarks: how fast an artifact answers, beside the framework that it came from."""
