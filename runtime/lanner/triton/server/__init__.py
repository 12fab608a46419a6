"""A tritonserver process: find, start, watch and stop it."""
