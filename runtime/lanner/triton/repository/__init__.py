"""The generator of Triton model repositories."""
