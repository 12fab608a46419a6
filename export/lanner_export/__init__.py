"""Lanner's export stage: a checkpoint becomes an artifact.

    from lanner_export.export import export
    export("path/to/checkpoint", "mine.lanner")

Needs the extra `export`; importing this package alone imports nothing heavy.
"""

#: What a model may answer; ``"auto"`` decides from the checkpoint.
HEADS = ("auto", "embed", "score", "classify", "tag")
#: The variants that can be made, and are by default.
PRECISIONS = ("fp32", "int8")
