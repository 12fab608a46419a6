"""The subjects: one process each, what is asked of it, and the texts it gets."""
