"""A cross-encoder so small that its scores can be worked out by hand.

The words are those of `tests.support.word_artifact`. A pair is read as one text, and its score is
the squared length of the mean of its words: 1 for ("a", "a"), 0.5 for ("a", "b").
"""

from pathlib import Path

from tests.support.word_artifact import write_manifest, write_mean_graph, write_word_artifact


def write_word_scorer(directory: Path) -> Path:
    import onnx  # noqa: PLC0415 (an extra)
    from onnx import TensorProto, helper  # noqa: PLC0415

    write_word_artifact(directory)
    for name in ("fp32", "int8"):
        path = directory / f"model.{name}.onnx"
        write_mean_graph(path)
        model = onnx.load(path)
        graph = model.graph
        graph.node.append(
            helper.make_node("Mul", ["sentence_embedding", "sentence_embedding"], ["squares"])
        )
        graph.node.append(helper.make_node("ReduceSum", ["squares", "one"], ["logits"], keepdims=1))
        del graph.output[:]
        shape: list[str | int | None] = ["batch", 1]
        graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape))
        onnx.save(model, path)
    parity = '"batch_independence_difference": 0.0'
    quality = directory / "quality.json"
    quality.write_text(quality.read_text().replace('"batch_independence_cosine": 1.0', parity))
    own = {"name": "scorer", "head": "score", "dimension": 1, "similarity": "", "prompts": {}}
    write_manifest(directory, **own, outputs=["logits"], labels=["score"])
    return directory
