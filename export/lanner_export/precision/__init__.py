"""The variants: int8 ranges, quantization, half precision and the budget search."""
