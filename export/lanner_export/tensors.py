"""What every graph of Lanner has in common: its operator set, and the names of its tensors."""

#: The first operator set with Attention; TensorRT's parsers read up to 24.
OPSET = 23
INPUTS = ("input_ids", "attention_mask")
TYPE_IDS = "token_type_ids"
EMBEDDING, LOGITS = "sentence_embedding", "logits"
