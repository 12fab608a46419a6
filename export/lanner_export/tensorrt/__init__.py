"""TensorRT engines of an artifact: the graph, the profiles, the builder and the parity check.

The graph carries its precision, as strongly typed networks require; TensorRT 11 has no others. One
code path builds with 10.13 and later, and with 11.x. Everything up to the call of the builder runs
without TensorRT and without a GPU.
"""

#: The precisions of an engine's products. fp32 and tf32 have the same graph: with TF32 a GPU's
#: matrix units round the factors to 10 bits of mantissa. int8 and fp8 are fp16 except for products.
PRECISIONS = ("fp16", "bf16", "int8", "fp8", "fp32", "tf32")
DEFAULT_PRECISIONS = ("fp16",)
#: The precision of the unquantized part of each graph.
BASE_PRECISIONS = {
    "fp32": "fp32",
    "tf32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "fp16",
    "fp8": "fp16",
}
#: Precisions with quantized products.
QUANTIZED_PRECISIONS = ("int8", "fp8")
#: The values of `lanner build-engine --profiles`.
PROFILE_KINDS = ("buckets", "wide")
