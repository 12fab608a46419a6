"""Lanner's export stage: a checkpoint becomes an artifact.

    from lanner_export.export import export
    export("path/to/checkpoint", "mine.lanner")

Needs the extra `export`; importing this package alone imports nothing heavy.
"""

import os

from lanner.artifact.heads import Head

#: The heads of models; ``"auto"`` decides from the checkpoint.
HEADS = ("auto", *Head)
#: How the vectors of tokens become one, if the checkpoint does not say it.
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
#: What finds the words of texts, for files of word vectors.
SEGMENTERS = ("auto", "none", "jieba")
#: The `a` of weights by inverse frequency, as in the article that proposed them.
SIF_SMOOTHING = 1e-3
#: The variants that can be made.
PRECISIONS = ("fp32", "int8", "int8-dynamic", "fp16", "bf16")
#: The variants that are made by default.
DEFAULT_PRECISIONS = ("fp32", "int8")

# The export stage's libraries import onnxruntime directly; see lanner.engines.onnxruntime.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
