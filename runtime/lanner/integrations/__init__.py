"""Adapters for programs that accept only models of their own classes."""
