"""The client: a model on a Triton server with the methods of a model in process."""
