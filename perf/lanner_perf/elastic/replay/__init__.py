"""A replay of a day: real services, a real proxy, a real Prometheus, and the HPA's algorithm."""
