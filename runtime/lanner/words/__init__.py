"""Tables of word vectors: similar words, analogies, and what they are evaluated by."""
