"""Other runtimes: their environments, their model files, and proof that they answer alike."""
