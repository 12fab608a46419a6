"""The tensors and the model configuration that client, backend and repository agree on."""
