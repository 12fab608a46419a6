"""The checkpoint: its modules, its head and its tokenizer file."""
