"""The linter of Triton model repositories."""
