import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    MAX_POSITIONS,
    bert_checkpoint,
    bert_model,
    edit_json,
    plain_checkpoint,
    word_piece_tokenizer,
)

from lanner.errors import CheckpointError, UnsupportedError

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.checkpoint.config import read_config
from lanner_export.loading import load_checkpoint


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may break."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def edit_modules(checkpoint: Path, index: int, **changes: Any) -> None:
    path = checkpoint / "modules.json"
    modules = json.loads(path.read_text())
    modules[index] |= changes
    path.write_text(json.dumps(modules))


def test_a_sentence_transformers_checkpoint(tiny_checkpoint: Path) -> None:
    loaded = load_checkpoint(str(tiny_checkpoint))
    assert loaded.max_tokens == 16  # sentence-transformers' own limit, not the tokenizer's 64
    assert loaded.dimension == 12
    assert loaded.similarity == "cosine"
    assert loaded.architecture.model_type == "bert"
    assert (loaded.architecture.layers, loaded.architecture.heads) == (2, 4)
    assert loaded.architecture.hidden_size == 32
    assert loaded.source["library"] == "sentence-transformers"
    assert set(loaded.source["weights_sha256"]) == {
        "model.safetensors",
        "2_Dense/model.safetensors",
    }


def test_a_plain_transformers_checkpoint_is_mean_pooled(tmp_path: Path) -> None:
    loaded = load_checkpoint(str(plain_checkpoint(tmp_path / "plain")))
    assert loaded.source["library"] == "transformers"
    assert loaded.max_tokens == MAX_POSITIONS
    assert loaded.dimension == 32
    assert loaded.model[1].pooling_mode == "mean"


def test_prompts_are_kept(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "prompts", prompts={"query": "query: ", "document": ""})
    assert load_checkpoint(str(path)).prompts["query"] == "query: "


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "half", bert_model().half())
    model = load_checkpoint(str(path)).model
    assert {str(parameter.dtype) for parameter in model.parameters()} == {"torch.float32"}


def test_a_limit_of_one_s_own(tiny_checkpoint: Path) -> None:
    loaded = load_checkpoint(str(tiny_checkpoint), max_tokens=MAX_POSITIONS)
    assert loaded.max_tokens == loaded.model.max_seq_length == MAX_POSITIONS


@pytest.mark.parametrize("tokens", [2, MAX_POSITIONS + 1])
def test_a_limit_beyond_the_positions_is_refused(tiny_checkpoint: Path, tokens: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"--max-tokens must be from 3 to 64 .* {tokens}$"):
        load_checkpoint(str(tiny_checkpoint), max_tokens=tokens)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint directory .*gone: check"):
        load_checkpoint(str(tmp_path / "gone"))


def test_a_name_that_the_hub_does_not_answer_for() -> None:
    with pytest.raises(
        CheckpointError, match=r"'no/such-model' is neither a directory here nor a model that the"
    ):
        load_checkpoint("no/such-model")


def test_a_file_is_no_checkpoint(tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json is a file that holds no word vec"):
        load_checkpoint(str(tiny_checkpoint / "config.json"))


def test_a_directory_without_a_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: there is no .*config.json"):
        load_checkpoint(str(tmp_path))


def test_a_broken_config_is_named(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text('{"model_type": "be')
    with pytest.raises(CheckpointError, match=r"config.json is not valid JSON \(Unterminated"):
        load_checkpoint(str(checkpoint))


def test_an_unknown_architecture_is_named(checkpoint: Path) -> None:
    edit_json(checkpoint / "config.json", model_type="bertoid")
    with pytest.raises(CheckpointError, match=r"cannot read .*config.json \(model_type 'bertoid'"):
        load_checkpoint(str(checkpoint))


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model  # noqa: PLC0415

    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=200, n_positions=32)
    path = plain_checkpoint(tmp_path / "gpt2", GPT2Model(config))
    with pytest.raises(UnsupportedError, match=r"is a gpt2 model, which is not an encoder: Lanner"):
        load_checkpoint(str(path))


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import BartConfig, BartModel  # noqa: PLC0415

    config = BartConfig(
        vocab_size=200, d_model=16, encoder_layers=1, decoder_layers=1, max_position_embeddings=32
    )
    path = plain_checkpoint(tmp_path / "bart", BartModel(config))
    with pytest.raises(UnsupportedError, match=r"is a bart model, which is not an encoder"):
        load_checkpoint(str(path))


def test_a_bert_that_decodes_is_refused(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "decoder", bert_model(is_decoder=True))
    with pytest.raises(UnsupportedError, match=r"is a bert model, which is not an encoder"):
        load_checkpoint(str(path))


def test_a_gemma_that_reads_in_one_direction_is_refused(tmp_path: Path) -> None:
    from transformers import Gemma3TextConfig, Gemma3TextModel  # noqa: PLC0415

    config = Gemma3TextConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=200, head_dim=8
    )
    path = plain_checkpoint(tmp_path / "gemma", Gemma3TextModel(config))
    with pytest.raises(UnsupportedError, match=r"is a gemma3_text model, which is not an encoder"):
        load_checkpoint(str(path))


@pytest.mark.parametrize("head", ["classify", "tag", "sparse"])
def test_heads_of_a_decoder_are_refused(tmp_path: Path, head: str) -> None:
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    config = T5Config(vocab_size=200, d_model=16, d_ff=16, num_layers=1, num_heads=2)
    path = plain_checkpoint(tmp_path / "t5", T5EncoderModel(config))
    with pytest.raises(
        UnsupportedError,
        match=rf"t5 model, and of those .* its heads are embed and tokens, not {head}$",
    ):
        load_checkpoint(str(path), head=head)


def test_a_tokenizer_with_a_dictionary_is_refused(tmp_path: Path) -> None:
    from transformers import RoFormerConfig, RoFormerModel  # noqa: PLC0415

    config = RoFormerConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=200
    )
    path = plain_checkpoint(tmp_path / "roformer", RoFormerModel(config))
    edit_json(path / "tokenizer_config.json", tokenizer_class="RoFormerTokenizerFast")
    with pytest.raises(UnsupportedError, match=r"own tokenizer, .* rjieba, .* BertTokenizerFast"):
        load_checkpoint(str(path))


def test_rotary_positions_under_their_older_names_are_read(tmp_path: Path) -> None:
    # As the published configuration of EmbeddingGemma, which transformers 4 wrote.
    older = {"rope_theta": 1e6, "rope_local_base_freq": 1e4}
    gemma = {"model_type": "gemma3_text", "use_bidirectional_attention": True, **older}
    (tmp_path / "config.json").write_text(json.dumps(gemma))
    assert read_config(tmp_path, "gemma").model_type == "gemma3_text"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **older}))
    with pytest.raises(UnsupportedError, match=r"has the field rope_local_base_freq 10000.0, wh"):
        read_config(tmp_path, "bert")


def test_code_of_a_checkpoint_is_not_run(checkpoint: Path) -> None:
    edit_json(
        checkpoint / "config.json", model_type="own", auto_map={"AutoModel": "modeling.OwnModel"}
    )
    with pytest.raises(
        UnsupportedError, match=r"needs code of its own \(modeling.OwnModel\), and Lanner runs no"
    ):
        load_checkpoint(str(checkpoint))


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("config.json", {"AutoConfig": "x.C", "AutoModel": "own--modeling.OwnModel"}),
        ("config.json", {"AutoModelForMaskedLM": "own--modeling.OwnModel"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own--modeling.OwnModel", None]}),
    ],
)
def test_code_beside_a_known_model_is_named(
    checkpoint: Path, file: str, own: dict[str, Any]
) -> None:
    edit_json(checkpoint / file, auto_map=own)
    with pytest.raises(
        UnsupportedError, match=r"needs code of its own \(.*own--modeling.OwnModel.*\), and Lanner"
    ):
        load_checkpoint(str(checkpoint))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("feed_forward_type", "geglu"),
        ("alibi_starting_size", 512),
        ("rotary_emb_fraction", 1.0),
        ("use_rms_norm", True),
        ("activation_function", "swiglu"),
    ],
)
def test_a_field_of_other_code_is_named(checkpoint: Path, field: str, value: object) -> None:
    edit_json(checkpoint / "config.json", pooler_fc_size=768, **{field: False})
    load_checkpoint(str(checkpoint))
    edit_json(checkpoint / "config.json", **{field: value})
    with pytest.raises(
        UnsupportedError, match=rf"config.json has the field {field} {value!r}, which the bert mod"
    ):
        load_checkpoint(str(checkpoint))


@pytest.mark.parametrize("kind", ["alibi", "rotary"])
def test_positions_that_are_not_computed_are_named(checkpoint: Path, kind: str) -> None:
    edit_json(checkpoint / "config.json", position_embedding_type=kind)
    with pytest.raises(
        (UnsupportedError, CheckpointError),
        match=rf"has the position_embedding_type '{kind}', which transformers .* does not compute",
    ):
        load_checkpoint(str(checkpoint))


def test_lengths_of_queries_and_documents_are_named(checkpoint: Path) -> None:
    edit_json(checkpoint / "sentence_bert_config.json", query_length=8)
    with pytest.raises(
        UnsupportedError, match=r"sentence_bert_config.json has the setting query_length 8, which"
    ):
        load_checkpoint(str(checkpoint))


def test_a_pooling_that_nobody_chose_is_said(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "plain")
    loaded = load_checkpoint(str(path))
    assert loaded.source["pooling"] == "mean"
    (warning,) = loaded.warnings
    assert warning == (
        f"{path} does not name its pooling, so the mean is taken: if it was trained with another "
        "one, pass that with --pooling, for example cls"
    )
    chosen = load_checkpoint(str(path), pooling="cls")
    assert (chosen.source["pooling"], chosen.warnings) == ("cls", [])
    import torch  # noqa: PLC0415

    features = chosen.model.tokenizer("a man is playing", return_tensors="pt")
    with torch.no_grad():
        expected = chosen.model[0].auto_model(**features)[0][0, 0].numpy()
    np.testing.assert_allclose(chosen.reference(["a man is playing"])[0], expected, atol=1e-5)


def test_a_pooling_of_its_own_stays(tiny_checkpoint: Path, classifier_checkpoint: Path) -> None:
    assert load_checkpoint(str(tiny_checkpoint)).source["pooling"] == "mean"
    with pytest.raises(UnsupportedError, match=r"names its own pooling: leave --pooling cls out"):
        load_checkpoint(str(tiny_checkpoint), pooling="cls")
    with pytest.raises(
        UnsupportedError, match=r"--pooling is for the head 'embed', and .*'classify'"
    ):
        load_checkpoint(str(classifier_checkpoint), pooling="cls")


@pytest.mark.parametrize(
    "kind", ["sentence_transformers.models.CNN", "modeling.Pooling", "os.system"]
)
def test_an_unknown_module_is_refused_by_name(checkpoint: Path, kind: str) -> None:
    edit_modules(checkpoint, 1, type=kind)
    with pytest.raises(UnsupportedError, match=rf"has the module {kind}, which Lanner does not"):
        load_checkpoint(str(checkpoint))


def test_an_activation_of_the_checkpoint_s_own_is_refused(checkpoint: Path) -> None:
    # sentence-transformers would use Tanh instead, and only log it.
    edit_json(checkpoint / "2_Dense" / "config.json", activation_function="own.Activation")
    with pytest.raises(UnsupportedError, match=r"names the activation 'own.Activation', which is"):
        load_checkpoint(str(checkpoint))


def test_a_model_without_pooling_is_refused(checkpoint: Path) -> None:
    path = checkpoint / "modules.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    with pytest.raises(UnsupportedError, match=r"lists Transformer, but Lanner exports only"):
        load_checkpoint(str(checkpoint))


def test_the_reference_cuts_where_the_artifact_does(tmp_path: Path) -> None:
    # RoBERTa counts positions from 2 on, so two of 60 can never be used.
    from transformers import RobertaConfig, RobertaModel  # noqa: PLC0415

    config = RobertaConfig(
        vocab_size=200,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=60,
    )
    loaded = load_checkpoint(str(plain_checkpoint(tmp_path / "roberta", RobertaModel(config))))
    assert loaded.max_tokens == loaded.model.max_seq_length == 58
    loaded.model.encode("word " * 100)


def test_a_broken_module_list_is_named(checkpoint: Path) -> None:
    (checkpoint / "modules.json").write_text('[{"path": ""}]')
    with pytest.raises(CheckpointError, match=r"modules.json is not a list of modules with type"):
        load_checkpoint(str(checkpoint))


def test_a_pickle_is_not_read(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"only as a pickle \(pytorch_model.bin\), which can"):
        load_checkpoint(str(checkpoint))


def test_a_pickle_of_a_module_is_not_read(checkpoint: Path) -> None:
    dense = checkpoint / "2_Dense"
    (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"2_Dense holds its weights only as a pickle"):
        load_checkpoint(str(checkpoint))


def test_missing_weights_are_named(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no weights: expected model.safetensors"):
        load_checkpoint(str(checkpoint))


def test_truncated_weights_are_one_sentence(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"^transformers cannot load .*: .+$"):
        load_checkpoint(str(checkpoint))


def test_weights_are_never_drawn_at_random(checkpoint: Path) -> None:
    edit_json(checkpoint / "config.json", num_hidden_layers=3)
    with pytest.raises(
        CheckpointError, match=r"lacks 16 weights of its transformer \(encoder.layer.2.attention"
    ):
        load_checkpoint(str(checkpoint))


def test_a_head_without_weights_is_refused(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "head")
    edit_json(path / "config.json", architectures=["BertForSequenceClassification"])
    with pytest.raises(
        CheckpointError,
        match=r"lacks 2 weights of the head 'classify' \(classifier.bias, classifier.weight\): f",
    ):
        load_checkpoint(str(path))
    assert load_checkpoint(str(path), head="embed").dimension == 32


def test_prompts_out_of_a_pooling_by_position_are_refused(checkpoint: Path) -> None:
    config = checkpoint / "1_Pooling" / "config.json"
    edit_json(config, include_prompt=False)
    assert not load_checkpoint(str(checkpoint)).pools_prompt
    edit_json(config, pooling_mode="weightedmean")
    with pytest.raises(
        UnsupportedError, match=r"excludes its prompts from a pooling weighted by position, which"
    ):
        load_checkpoint(str(checkpoint))


def test_the_tokenizer_is_needed(tmp_path: Path) -> None:
    bert_model().save_pretrained(tmp_path / "bare")
    with pytest.raises(CheckpointError, match=r"(has no tokenizer|cannot load)"):
        load_checkpoint(str(tmp_path / "bare"))


def test_the_test_tokenizer_is_fast() -> None:
    assert word_piece_tokenizer().is_fast


def test_other_safetensors_do_not_hide_a_pickle(checkpoint: Path) -> None:
    (checkpoint / "2_Dense" / "model.safetensors").rename(checkpoint / "2_Dense" / "x.safetensors")
    (checkpoint / "2_Dense" / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"2_Dense holds its weights only as a pickle \(pyto"):
        load_checkpoint(str(checkpoint))


def test_a_truncation_of_its_own_that_cannot_be_is_named(checkpoint: Path) -> None:
    edit_json(checkpoint / "config_sentence_transformers.json", truncate_dim=100)
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    if SentenceTransformer(str(checkpoint), device="cpu").truncate_dim is None:
        pytest.skip("this sentence-transformers does not keep it in the checkpoint")
    with pytest.raises(UnsupportedError, match=r"its own truncate_dim must be from 1 to 12 for "):
        load_checkpoint(str(checkpoint))
