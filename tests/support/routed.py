"""Tiny checkpoints with a Router, saved by sentence-transformers itself."""

import json
from pathlib import Path
from typing import Any

from tests.support.checkpoints import bert_model, plain_checkpoint, word_piece_tokenizer

PROMPTS = {"query": "query: ", "document": "text: "}


def _query_modules(directory: Path, kind: str) -> list[Any]:
    import torch  # noqa: PLC0415
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    torch.manual_seed(4)
    if kind == "static":
        tokenizer = word_piece_tokenizer().backend_tokenizer
        return [modules.StaticEmbedding(tokenizer, embedding_dim=12)]
    model = bert_model(5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    plain = plain_checkpoint(directory.with_name(directory.name + "-query"), model)
    return [
        modules.Transformer(str(plain), max_seq_length=8),
        modules.Pooling(16, pooling_mode="cls"),
        modules.Dense(16, 12, activation_function=torch.nn.Tanh()),
    ]


def routed_checkpoint(
    directory: Path, *, query: str = "transformer", document_width: int = 12, **options: Any
) -> Path:
    """Write a checkpoint whose queries and documents go through encoders of their own.

    Args:
        directory: Where.
        query: ``"transformer"``, or ``"static"`` for a table of vectors.
        document_width: The width of the documents' vectors; that of queries is 12.
        options: Arguments of `Router.for_query_document` in `router`, others of
            `SentenceTransformer`.
    """
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    router_options = options.pop("router", {})
    options = {"prompts": PROMPTS, **options}
    queries = _query_modules(directory, query)
    plain = plain_checkpoint(directory.with_name(directory.name + "-document"))
    torch.manual_seed(6)
    documents = [
        modules.Transformer(str(plain), max_seq_length=16),
        modules.Pooling(32, pooling_mode="mean"),
        modules.Dense(32, document_width, activation_function=torch.nn.Tanh()),
    ]
    router = modules.Router.for_query_document(queries, documents, **router_options)
    parts = [router, modules.Normalize()]
    SentenceTransformer(modules=parts, device="cpu", **options).save(str(directory))
    return directory


def asym_checkpoint(directory: Path) -> Path:
    """Write a checkpoint in the layout of Asym, before sentence-transformers 5.

    One transformer reads all texts, and a Dense module of their own turns queries and documents.
    """
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    plain = plain_checkpoint(directory.with_name(directory.name + "-plain"))
    torch.manual_seed(7)
    router = modules.Router(
        {
            name: [modules.Dense(32, 12, activation_function=torch.nn.Tanh())]
            for name in ("query", "doc")
        },
        allow_empty_key=True,
    )
    parts = [modules.Transformer(str(plain), max_seq_length=16), modules.Pooling(32), router]
    SentenceTransformer(modules=parts, device="cpu").save(str(directory))
    listed = json.loads((directory / "modules.json").read_text())
    place = directory / listed[2]["path"]
    listed[2]["type"] = "sentence_transformers.models.Asym"
    (directory / "modules.json").write_text(json.dumps(listed))
    content = json.loads((place / "router_config.json").read_text())
    content["types"] = dict.fromkeys(content["types"], "sentence_transformers.models.Dense")
    content["parameters"] = {"allow_empty_key": True}
    (place / "router_config.json").unlink()
    (place / "config.json").write_text(json.dumps(content))
    return directory
