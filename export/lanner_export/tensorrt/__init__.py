"""TensorRT engines of an artifact: the graph, the profiles, the builder, and what it must answer.

The graph carries its precision, as strongly typed networks want it, which are the only ones that
TensorRT 11 has. One code path builds with 10.13 and later, and with 11.x. Everything up to the call
of the builder runs without TensorRT and without a GPU.
"""

#: What an engine multiplies in. fp32 and tf32 are the same graph: TF32 is how a GPU's matrix units
#: round what they multiply, to 10 bits behind the point. int8 and fp8 are fp16 but for products.
PRECISIONS = ("fp16", "bf16", "int8", "fp8", "fp32", "tf32")
DEFAULT_PRECISIONS = ("fp16",)
#: What each graph is in where it is not quantized.
BASE_PRECISIONS = {
    "fp32": "fp32",
    "tf32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "fp16",
    "fp8": "fp16",
}
#: Precisions whose products are of quantized values.
QUANTIZED_PRECISIONS = ("int8", "fp8")
#: What `lanner build-engine --profiles` takes.
PROFILE_KINDS = ("buckets", "wide")
