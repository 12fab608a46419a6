"""Parity with the checkpoint, and the quality card."""
