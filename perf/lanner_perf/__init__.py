"""Benchmarks of an artifact beside the framework of its checkpoint and other runtimes."""
