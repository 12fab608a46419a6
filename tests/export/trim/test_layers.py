from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.architectures import MATRIX, config_of, encoder_class

from lanner.errors import UnsupportedError

torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

from lanner_export.trim.layers import keep_layers, kept_layers  # noqa: E402

LAYERS = 4


def encoder_of(name: str, **changes: Any) -> Any:
    """Return a tiny random encoder of four layers."""
    row = MATRIX[name]
    if row.since == "5" and transformers.__version__.startswith("4."):
        pytest.skip(f"transformers {transformers.__version__} does not carry {name}")
    torch.manual_seed(0)
    own = {**config_of(name, "embed"), "num_hidden_layers": LAYERS, **changes}
    if kinds := own.get("layer_types"):
        own["layer_types"] = (kinds * LAYERS)[:LAYERS]
    config = getattr(transformers, f"{row.prefix}Config")(**own)
    return encoder_class(row.prefix)(config).eval()


def hidden(encoder: Any) -> Any:
    ids = torch.arange(5, 25).reshape(2, 10)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.no_grad():
        return encoder(input_ids=ids, attention_mask=mask)[0]


def pass_over(encoder: Any, kept: Sequence[int]) -> None:
    """Make the other layers return their input."""
    names = ("layer", "layers", "block", "albert_layer_groups")
    (layers,) = (
        module
        for name, module in encoder.named_modules()
        if name.rpartition(".")[2] in names
        and isinstance(module, torch.nn.ModuleList)
        and ".block." not in name  # T5's layer is a list, too
    )
    runs = iter(range(LAYERS))

    def passing(forward: Any) -> Any:
        def run(*inputs: Any, **options: Any) -> Any:
            output = forward(*inputs, **options)
            if next(runs) in kept:
                return output
            given = inputs[0] if inputs else options["hidden_states"]
            if isinstance(output, dict):  # SqueezeBERT
                return {**output, "feature_map": given}
            return given if torch.is_tensor(output) else (given, *output[1:])

        return run

    for layer in layers:
        layer.forward = passing(layer.forward)  # SqueezeBERT calls it without its hooks


@pytest.mark.parametrize("kept", [(0, 2), (1, 2, 3)])
@pytest.mark.parametrize("name", MATRIX)
def test_it_is_the_transformer_with_the_others_passed_over(
    name: str, kept: tuple[int, ...]
) -> None:
    reference, encoder = encoder_of(name), encoder_of(name)
    whole = hidden(reference)
    pass_over(reference, kept)
    expected = hidden(reference)
    assert (whole - expected).abs().max() > 0.01
    assert keep_layers(encoder, kept, name) == (list(kept), LAYERS)
    torch.testing.assert_close(hidden(encoder), expected, rtol=0, atol=1e-6)
    assert encoder.config.num_hidden_layers == len(kept)


@pytest.mark.parametrize(
    ("count", "many", "expected"),
    [
        (12, 6, [0, 2, 4, 7, 9, 11]),  # the layers of DistilBERT
        (6, 3, [0, 2, 5]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (6, 2, [0, 5]),
        (6, 1, [0]),
    ],
)
def test_a_number_of_layers_is_spread_evenly(count: int, many: int, expected: list[int]) -> None:
    assert kept_layers(many, count, "it") == expected


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (0, "must be from 1 to 6 layers for it, not 0"),
        (-1, "must be from 1 to 6 layers for it, not -1"),
        (7, "must be from 1 to 6 layers for it, not 7"),
        ([], "must name layers in ascending order, each once, not ''"),
        ([0, 0], "must name layers in ascending order, each once, not '0,0'"),
        ([2, 0], "must name layers in ascending order, each once, not '2,0'"),
        ([0, 6], "must name layers from 0 to 5 for it, not '0,6'"),
        ([-1, 5], "must name layers from 0 to 5 for it, not '-1,5'"),
    ],
)
def test_layers_that_are_not_there(keep: int | list[int], message: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^--keep-layers {message}$"):
        kept_layers(keep, 6, "it")


def test_a_convolution_behind_the_first_layer_keeps_it() -> None:
    encoder = encoder_of("DeBERTa", conv_kernel_size=3)
    with pytest.raises(UnsupportedError, match=r"^it has a convolution behind its layer 0, which"):
        keep_layers(encoder, [1, 2], "it")
    reference = encoder_of("DeBERTa", conv_kernel_size=3)
    pass_over(reference, (0, 2))
    keep_layers(encoder, [0, 2], "it")
    torch.testing.assert_close(hidden(encoder), hidden(reference), rtol=0, atol=1e-6)


def test_groups_of_shared_weights_are_not_shared_out_anew() -> None:
    encoder = encoder_of("ALBERT", num_hidden_groups=2)
    with pytest.raises(UnsupportedError, match=r"^it shares 2 groups of weights among its 4 layer"):
        keep_layers(encoder, 2, "it")


def test_layers_that_are_several_lists_are_refused() -> None:
    config = transformers.XLMConfig(emb_dim=16, n_layers=4, n_heads=2, vocab_size=50)
    encoder = transformers.XLMModel(config)
    with pytest.raises(
        UnsupportedError, match=r"^it is a xlm model, whose layers do not stand in one list: leave"
    ):
        keep_layers(encoder, 2, "it")
