"""Rewrites of the graph, each one named and optional."""
