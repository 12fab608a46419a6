"""The layout of a result, and its figures and tables, each figure under one name."""
