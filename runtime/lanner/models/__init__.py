"""One class for each head, and what they answer."""
