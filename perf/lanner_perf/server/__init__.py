"""A model on a Triton server beside itself in process."""
