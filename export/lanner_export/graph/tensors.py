"""The operator set and the names of tensors of all graphs of Lanner."""

from lanner.running.runner import TYPE_IDS

__all__ = ["EMBEDDING", "INPUTS", "LOGITS", "OPSET", "TERMS", "TOKENS", "TYPE_IDS"]

#: The first operator set with Attention; TensorRT's parsers read up to 24.
OPSET = 23
INPUTS = ("input_ids", "attention_mask")
EMBEDDING, LOGITS = "sentence_embedding", "logits"
TERMS, TOKENS = "sparse_embedding", "token_embeddings"
