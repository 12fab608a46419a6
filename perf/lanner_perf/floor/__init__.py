"""The floor: the operations of a model, and the speed of such operations on this machine."""
