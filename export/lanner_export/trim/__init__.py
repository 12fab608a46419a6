"""Smaller models: fewer layers, tokens or dimensions."""
