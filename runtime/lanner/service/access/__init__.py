"""Access to the service: keys, rates, limits, masking, logs, certificates, origins.

These modules know neither ASGI nor a dialect: each makes one decision for the service.
"""
