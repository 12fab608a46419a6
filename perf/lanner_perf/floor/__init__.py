"""The floor: the operations of a model, and how fast this machine does such operations."""
