"""Adapters for programs that take only models of their own classes."""
