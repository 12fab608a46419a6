"""The layout of a result, and its figures and tables, each under one name."""
