"""Models of the real shapes with random weights: what a GPU does with them takes as long.

Their checkpoints are made here, so that a benchmark needs no hub; the tokenizer has as many words
as BERT's, each of a number.
"""

from pathlib import Path
from typing import Any, NamedTuple


class Shape(NamedTuple):
    """What decides how long a BERT takes.

    Attributes:
        layers: Encoder layers.
        hidden: Width of a token's vector.
        heads: Attention heads.
        inner: Width of the feed-forward layer.
    """

    layers: int
    hidden: int
    heads: int
    inner: int

    def flop(self, batch: int, length: int) -> float:
        """Floating-point operations of the matrix products of a run, a multiply-add being two."""
        tokens = batch * length
        linear = 2 * tokens * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        attention = 4 * tokens * length * self.hidden
        return float(self.layers * (linear + attention))


MODELS = {
    "MiniLM-L6": Shape(6, 384, 12, 1_536),
    "BERT-base": Shape(12, 768, 12, 3_072),
    "BERT-large": Shape(24, 1_024, 16, 4_096),
    # For a run that only shows that everything works.
    "tiny": Shape(2, 32, 2, 64),
}
VOCABULARY = 30_522
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_POSITIONS = 512


def write_checkpoint(shape: Shape, directory: Path, *, seed: int = 0) -> None:
    """A transformers checkpoint of random weights, with its tokenizer."""
    import torch  # noqa: PLC0415 (slow to import, and only needed here)
    from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: PLC0415

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=_POSITIONS,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    words = [*_SPECIAL, *(f"w{number}" for number in range(VOCABULARY - len(_SPECIAL)))]
    vocabulary = directory / "vocab.txt"
    vocabulary.write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizerFast(str(vocabulary), model_max_length=_POSITIONS).save_pretrained(directory)


def load_torch(checkpoint: Path, *, device: str, half: bool) -> Any:
    """The checkpoint in PyTorch, with its fused attention (scaled_dot_product_attention)."""
    import torch  # noqa: PLC0415
    from transformers import BertModel  # noqa: PLC0415

    model = BertModel.from_pretrained(
        checkpoint,
        add_pooling_layer=False,
        attn_implementation="sdpa",
        dtype=torch.float16 if half else torch.float32,
    )
    return model.to(device).eval()
