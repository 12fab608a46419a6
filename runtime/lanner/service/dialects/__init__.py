"""The dialects of the service: the routes, shapes and refusals of other services."""
