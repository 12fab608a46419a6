"""Vectors: similarity, search and quantization in numpy."""
