"""Transformer checkpoints: encoders, classifiers and their tokenizers."""
