"""Metrics: their families, their values, and the text that Prometheus reads."""
