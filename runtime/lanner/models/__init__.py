"""One class for each head, and the classes of their answers."""
