"""The core of the service: models, their queue, and one request on its way."""
