"""The names of Lanner's tensors and parameters in a Triton model repository."""

IDS, MASK = "input_ids", "attention_mask"
#: Of `lanner.running.runner.TYPE_IDS`: INT64, as the two above.
TEXT, TEXT_PAIR = "text", "text_pair"
#: Where a text model of the head `tag` says which characters each token is, INT64 [tokens, 2].
OFFSETS, CONTINUES = "offsets", "continues"
#: What the name of a text model ends in.
TEXT_SUFFIX = "_text"
#: Parameters of a configuration: what a model takes, the lengths that requests are filled up to,
#: and the variant that runs.
INPUT_KIND, BUCKETS, VARIANT = "lanner_input", "lanner_buckets", "lanner_variant"
#: Of a text model without an engine of its own, the token model that it calls.
TOKEN_MODEL = "token_model"  # noqa: S105 (no password)
#: Of a model of the Python backend with an engine of its own, the cores of one instance.
THREADS = "threads"
TOKENS_KIND, TEXT_KIND = "tokens", "text"
