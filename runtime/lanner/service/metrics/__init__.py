"""Metrics of the service: families, processes, and names of other servers."""
