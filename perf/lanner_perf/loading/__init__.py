"""The parts of loading that the kinds share. Only the standard library is imported."""
