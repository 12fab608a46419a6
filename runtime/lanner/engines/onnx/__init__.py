"""ONNX files, read and rewritten without the package onnx."""
