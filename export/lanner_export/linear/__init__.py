"""Classifiers on top of sentence vectors: their files, read without running code from them."""
