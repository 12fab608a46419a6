"""The kinds of subjects: how each is imported and loaded, and what it says of itself.

A module a runtime. They run in the subject's process, which may be of an environment without
Lanner: they import nothing but the standard library until a kind is loaded.
"""

from collections.abc import Callable, Mapping

from lanner_perf.kinds.ctranslate2 import load_ctranslate2
from lanner_perf.kinds.fastembed import load_fastembed
from lanner_perf.kinds.infinity import load_infinity
from lanner_perf.kinds.lanner_artifact import load_lanner
from lanner_perf.kinds.light_embed import load_light_embed
from lanner_perf.kinds.loaded import PACKAGES, AnswerMany, Encode, Loaded
from lanner_perf.kinds.onnx_file import load_onnx_file
from lanner_perf.kinds.sentence_transformers import load_sentence_transformers
from lanner_perf.kinds.triton import load_triton
from lanner_perf.kinds.triton_plain import load_triton_plain

__all__ = ["KINDS", "PACKAGES", "AnswerMany", "Encode", "Loaded"]

#: By name. Each takes a path, what else it needs to know, and how many threads it may use.
KINDS: dict[str, Callable[[str, Mapping[str, str], int], Loaded]] = {
    "lanner": load_lanner,
    "onnx-file": load_onnx_file,
    "sentence-transformers": load_sentence_transformers,
    "fastembed": load_fastembed,
    "light-embed": load_light_embed,
    "ctranslate2": load_ctranslate2,
    "infinity": load_infinity,
    "triton": load_triton,
    "triton-plain": load_triton_plain,
}
