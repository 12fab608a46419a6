"""The names of Lanner's tensors and parameters in a Triton model repository."""

IDS, MASK = "input_ids", "attention_mask"
#: The inputs of a text model. The tensors above, and `lanner.running.runner.TYPE_IDS`, are INT64.
TEXT, TEXT_PAIR = "text", "text_pair"
#: The optional input of a text model with prompts: the name of each text's, "" for none. It is an
#: input, not a parameter of the request, since Triton's response cache tells requests by inputs.
PROMPT_NAME = "prompt_name"
#: The outputs of a text model of the head `tag` with each token's characters, INT64 [tokens, 2].
OFFSETS, CONTINUES = "offsets", "continues"
#: The output of a text model of the head `tokens` that tells vectors from filling, INT64 [tokens].
TOKEN_MASK = "token_mask"  # noqa: S105 (no password)
#: The end of a text model's name.
TEXT_SUFFIX = "_text"
#: Parameters of a configuration: the kind of input, the lengths that requests are padded to, and
#: the variant that runs.
INPUT_KIND, BUCKETS, VARIANT = "lanner_input", "lanner_buckets", "lanner_variant"
#: For a text model without an engine of its own: the token model that it calls.
TOKEN_MODEL = "token_model"  # noqa: S105 (no password)
#: For a model of the Python backend with an engine of its own: the engine's name or "auto", its
#: device, and the cores of one instance.
ENGINE, DEVICE, THREADS = "engine", "device", "threads"
TOKENS_KIND, TEXT_KIND = "tokens", "text"


def way_name(name: str, task: str) -> str:
    """Return the name of the model that reads the texts of a task, beside a model with ways.

    Args:
        name: The name of the model that reads the others; it may be that of its text model.
        task: The task.
    """
    stem = name.removesuffix(TEXT_SUFFIX)
    return f"{stem}_{task}{name[len(stem) :]}"
