"""Benchmarks of engines on an NVIDIA GPU, with models of random weights."""
