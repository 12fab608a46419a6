"""Access to the service: keys, rates, limits, masking, logs, certificates, origins.

Nothing here knows ASGI or a dialect: each module is a decision that the front door asks for.
"""
