"""A tritonserver process: finding, starting, watching and stopping it."""
