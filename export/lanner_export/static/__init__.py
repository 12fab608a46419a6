"""Checkpoints of word vectors."""
