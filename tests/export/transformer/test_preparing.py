"""Checkpoints that are changed before they are loaded: pickles converted, adapters merged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    bert_checkpoint,
    bert_model,
    edit_json,
    plain_checkpoint,
    word_piece_tokenizer,
)

from lanner.errors import (
    CheckpointError,
    InputError,
    MissingExtraError,
    UnsupportedError,
    UsageError,
)
from lanner_export.checkpoint.checkpoint import Checkpoint
from lanner_export.loading import load_checkpoint
from lanner_export.ways import parse_adapters

torch = pytest.importorskip("torch", reason="needs the export extra")

TEXTS = ["a man is playing a guitar", "the train leaves at seven"]


def loaded(checkpoint: Path, tmp_path: Path, **options: Any) -> Checkpoint:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return load_checkpoint(str(checkpoint), scratch=scratch, **options)


def answers(checkpoint: Checkpoint) -> Any:
    return np.stack(checkpoint.reference(TEXTS))


def mean_of(model: Any) -> Any:
    """The mean of the tokens' vectors of each text: what a checkpoint without modules means."""
    tokenizer = word_piece_tokenizer()
    found = []
    for text in TEXTS:
        with torch.no_grad():
            hidden = model.eval()(**tokenizer(text, return_tensors="pt"))[0][0]
        found.append(hidden.mean(0).numpy())
    return np.stack(found)


# Pickles.


def pickled(directory: Path, model: Any, *, parts: int = 1, **options: Any) -> Path:
    plain_checkpoint(directory, model)
    (directory / "model.safetensors").unlink()
    weights = model.state_dict()
    if parts == 1:
        torch.save(weights, directory / "pytorch_model.bin", **options)
        return directory
    names = {
        n: f"pytorch_model-{i % parts + 1:05}-of-{parts:05}.bin" for i, n in enumerate(weights)
    }
    for part in set(names.values()):
        torch.save({n: w for n, w in weights.items() if names[n] == part}, directory / part)
    index = {"metadata": {}, "weight_map": names}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return directory


@pytest.mark.parametrize(
    "options",
    [{}, {"parts": 3}, {"_use_new_zipfile_serialization": False}],
    ids=["whole", "parts", "old"],
)
def test_a_pickle_is_read_where_that_is_allowed(tmp_path: Path, options: dict[str, Any]) -> None:
    model = bert_model()
    checkpoint = pickled(tmp_path / "pickled", model, **options)
    with pytest.raises(
        CheckpointError, match=r"holds its weights only as a pickle .*, or pass --allow-pickle, wh"
    ):
        loaded(checkpoint, tmp_path / "refused")
    files = sorted(path.name for path in checkpoint.iterdir())
    found = loaded(checkpoint, tmp_path, allow_pickle=True)
    np.testing.assert_allclose(answers(found), mean_of(model), atol=1e-6)
    assert sorted(path.name for path in checkpoint.iterdir()) == files
    assert all(name.endswith(".bin") for name in found.source["weights_sha256"])
    assert found.source["checkpoint"] == "pickled"


@pytest.fixture(autouse=True)
def _refused(tmp_path: Path) -> None:
    (tmp_path / "refused").mkdir()


def test_weights_that_share_their_memory(tmp_path: Path) -> None:
    model = bert_model(kind="BertForMaskedLM")  # its decoder is the table of words
    found = loaded(pickled(tmp_path / "tied", model), tmp_path, head="embed", allow_pickle=True)
    np.testing.assert_allclose(answers(found), mean_of(model.bert), atol=1e-6)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_of_a_pickle_runs(tmp_path: Path) -> None:
    checkpoint = pickled(tmp_path / "hostile", bert_model())
    torch.save({"weight": Hostile(tmp_path / "ran")}, checkpoint / "pytorch_model.bin")
    message = r"pytorch_model.bin is not a pickle of tensors alone \(Weights only load failed"
    with pytest.raises(CheckpointError, match=message):
        loaded(checkpoint, tmp_path, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    checkpoint = pickled(tmp_path / "list", bert_model())
    torch.save({"epoch": 3}, checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"\(its content is not tensors by name\): save it"):
        loaded(checkpoint, tmp_path, allow_pickle=True)


# Layouts and kinds of weights that other versions of the libraries write.


def test_weights_in_parts_and_of_sixteen_bits(tmp_path: Path) -> None:
    model = bert_model().to(torch.bfloat16)
    plain_checkpoint(tmp_path / "parts", model)
    (tmp_path / "parts" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1
    found = loaded(tmp_path / "parts", tmp_path)
    # As float32: each weight is exact, and so are the sums.
    np.testing.assert_allclose(answers(found), mean_of(model.float()), atol=1e-6)


def test_the_layout_of_old_releases(tmp_path: Path) -> None:
    checkpoint = bert_checkpoint(tmp_path / "new")
    old = tmp_path / "old"
    shutil.copytree(checkpoint, old)
    inner = old / "0_Transformer"
    inner.mkdir()
    for path in [p for p in old.iterdir() if p.is_file()]:
        if path.name not in ("modules.json", "README.md", "config_sentence_transformers.json"):
            path.rename(inner / path.name)
    settings = next(inner.glob("sentence_*_config.json"))
    settings.rename(inner / "sentence_roberta_config.json")
    modules = json.loads((old / "modules.json").read_text())
    modules[0] |= {"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}
    (old / "modules.json").write_text(json.dumps(modules))
    (old / "config.json").write_text(json.dumps({"__version__": "0.3.9"}))
    found, expected = loaded(old, tmp_path), load_checkpoint(str(checkpoint))
    assert found.max_tokens == expected.max_tokens == 16
    np.testing.assert_array_equal(answers(found), answers(expected))


def test_weights_that_another_library_quantized(tmp_path: Path) -> None:
    checkpoint = plain_checkpoint(tmp_path / "quantized")
    edit_json(checkpoint / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    message = (
        r"quantized has weights that bitsandbytes quantized, which Lanner does not read: load it, "
        r"call dequantize\(\), save that, and export it; --precision int8 quantizes it again$"
    )
    with pytest.raises(UnsupportedError, match=message):
        load_checkpoint(str(checkpoint))


# Adapters.


def adapted(directory: Path, base: Path, *, seed: int = 3, kind: Any = None, **options: Any) -> Any:
    """Save a random adapter of a checkpoint; return PEFT's model of both."""
    peft = pytest.importorskip("peft", reason="needs the extra 'peft'")
    import transformers  # noqa: PLC0415

    model = (kind or transformers.AutoModel).from_pretrained(base)
    config = peft.LoraConfig(
        **{"r": 4, "lora_alpha": 16, "target_modules": ["query", "value"], **options}
    )
    torch.manual_seed(seed)
    found = peft.get_peft_model(model, config)
    for name, weight in found.named_parameters():
        if "lora_" in name or "modules_to_save" in name:  # B begins as zeros
            torch.nn.init.normal_(weight, std=0.2)
    found.save_pretrained(directory)
    return found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return plain_checkpoint(tmp_path / "base")


@pytest.mark.parametrize(
    "options",
    [{}, {"use_rslora": True, "rank_pattern": {"query": 2}}, {"use_dora": True}],
    ids=["plain", "ranks", "dora"],
)
def test_an_adapter_is_merged_as_peft_merges_it(
    base: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = adapted(tmp_path / "adapter", base, **options)
    found = loaded(tmp_path / "adapter", tmp_path)
    merged = model.merge_and_unload()
    np.testing.assert_allclose(answers(found), mean_of(merged), atol=1e-6)
    assert np.abs(answers(found) - mean_of(bert_model())).max() > 0.01
    record = found.source["adapter"]
    assert (record["kind"], record["base"]) == ("LORA", "base")
    assert set(record["weights_sha256"]) == {"adapter_model.safetensors"}
    assert set(found.source["weights_sha256"]) == {"model.safetensors"}
    assert found.source["checkpoint"] == "adapter"


def test_an_adapter_beside_the_weights(base: Path, tmp_path: Path) -> None:
    model = adapted(base, base)
    before = (base / "model.safetensors").read_bytes(), (base / "config.json").read_bytes()
    found = loaded(base, tmp_path)
    np.testing.assert_allclose(answers(found), mean_of(model.merge_and_unload()), atol=1e-6)
    assert before == (
        (base / "model.safetensors").read_bytes(),
        (base / "config.json").read_bytes(),
    )


def test_a_base_that_is_elsewhere(base: Path, tmp_path: Path) -> None:
    model = adapted(tmp_path / "adapter", base)
    edit_json(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path="bert-base")
    message = (
        r"the adapter of .*adapter was trained for 'bert-base', which is no directory here: pass "
        r"--base with the directory or the hub name of that checkpoint$"
    )
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path / "adapter", tmp_path / "refused")
    found = loaded(tmp_path / "adapter", tmp_path, base=str(base))
    np.testing.assert_allclose(answers(found), mean_of(model.merge_and_unload()), atol=1e-6)


def test_an_adapter_of_sentence_transformers(tmp_path: Path) -> None:
    """Its pooling, its limit and its Dense module are those of the base."""
    whole = bert_checkpoint(tmp_path / "whole")
    adapted(tmp_path / "adapter", whole)
    found, expected = loaded(tmp_path / "adapter", tmp_path), load_checkpoint(str(whole))
    assert (found.max_tokens, found.dimension) == (16, 12)
    assert found.source["library"] == "sentence-transformers"
    assert np.abs(answers(found) - answers(expected)).max() > 0.01
    # Saved beside the modules, it is the same.
    beside = tmp_path / "beside"
    shutil.copytree(whole, beside)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(tmp_path / "adapter" / name, beside / name)
    (beside / "model.safetensors").unlink()
    (tmp_path / "again").mkdir()
    again = loaded(beside, tmp_path / "again")
    np.testing.assert_allclose(answers(again), answers(found), atol=1e-6)


def test_a_classifier_whose_head_was_trained_beside_the_adapter(base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    adapter = tmp_path / "adapter"
    options: dict[str, Any] = {"task_type": "SEQ_CLS", "modules_to_save": ["classifier"]}

    def three(path: Path) -> Any:
        return transformers.AutoModelForSequenceClassification.from_pretrained(path, num_labels=3)

    class Three:
        from_pretrained = staticmethod(three)

    model = adapted(adapter, base, kind=Three, **options).merge_and_unload().eval()
    word_piece_tokenizer().save_pretrained(adapter)
    found = loaded(adapter, tmp_path)
    assert (found.head, found.labels) == ("classify", ["LABEL_0", "LABEL_1", "LABEL_2"])
    for text, logits in zip(TEXTS, found.reference(TEXTS), strict=True):
        with torch.no_grad():
            expected = model(**word_piece_tokenizer()(text, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-6)


def test_an_adapter_that_does_not_fit(base: Path, tmp_path: Path) -> None:
    adapted(tmp_path / "adapter", base)
    other = plain_checkpoint(tmp_path / "other", bert_model(num_hidden_layers=1))
    message = (
        r"has weights that BertModel of its base has no place for \(encoder.layer.1.attention.self."
        r"query.lora_A.weight, 4 in all\): pass the --base that it was trained for$"
    )
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path / "adapter", tmp_path, base=str(other))


def test_an_adapter_of_a_classifier_without_its_classifier(tmp_path: Path) -> None:
    whole = plain_checkpoint(
        tmp_path / "whole", bert_model(kind="BertForSequenceClassification", num_labels=3)
    )
    adapted(tmp_path / "adapter", whole)
    edit_json(tmp_path / "adapter" / "adapter_config.json", task_type="SEQ_CLS")
    message = r"^peft cannot load the adapter of .*adapter: '[\w.]+' is missing$"
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path / "adapter", tmp_path)


def test_an_adapter_that_names_itself_as_its_base(base: Path, tmp_path: Path) -> None:
    adapted(tmp_path / "adapter", base)
    edit_json(
        tmp_path / "adapter" / "adapter_config.json",
        base_model_name_or_path=str(tmp_path / "adapter"),
    )
    message = (
        r"^the base of the adapter of .*adapter \(adapter\) has no config.json: pass --base with "
        r"the directory or the hub name of the checkpoint that it was trained for$"
    )
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path / "adapter", tmp_path)


def write_adapter(directory: Path, **settings: Any) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415

    directory.mkdir(exist_ok=True)
    content = {"peft_type": "LORA", "base_model_name_or_path": "", **settings}
    (directory / "adapter_config.json").write_text(json.dumps(content))
    save_file({"x": torch.zeros(1)}, directory / "adapter_model.safetensors")


def test_an_adapter_that_cannot_be_merged(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", peft_type="PROMPT_TUNING")
    with pytest.raises(
        UnsupportedError,
        match=r"holds a PROMPT_TUNING adapter, which Lanner does not merge: it merges LORA, ADA",
    ):
        loaded(tmp_path / "adapter", tmp_path)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "pytorch_adapter.bin"])
def test_an_adapter_elsewhere_is_never_passed_over(base: Path, tmp_path: Path, name: str) -> None:
    (base / "adapters").mkdir()
    (base / "adapters" / name).touch()
    with pytest.raises(
        UnsupportedError,
        match=rf"holds an adapter that is not its transformer's own \(adapters/{name}\), which L",
    ):
        loaded(base, tmp_path)


def test_half_an_adapter_is_never_passed_over(base: Path, tmp_path: Path) -> None:
    (base / "adapter_model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"an adapter without adapter_config.json: copy or d"):
        loaded(base, tmp_path / "refused")
    write_adapter(base)
    (base / "adapter_model.safetensors").rename(base / "adapter_model.bin")
    with pytest.raises(
        CheckpointError, match=r"as a pickle \(adapter_model.bin\): pass --allow-pickle, which"
    ):
        loaded(base, tmp_path)


def test_without_peft_an_adapter_is_never_passed_over(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_adapter(base)
    monkeypatch.setattr("lanner_export.transformer.adapters.has_package", lambda _: False)
    message = (
        r"^merging an adapter into its checkpoint needs the package 'peft', which is not "
        r"installed: pip install 'lanner\[peft\]'$"
    )
    with pytest.raises(MissingExtraError, match=message):
        loaded(base, tmp_path)


def test_a_base_without_an_adapter(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"base holds no adapter, so it has no base: leave --base"):
        loaded(base, tmp_path, base="other")


def test_where_converted_weights_go(tmp_path: Path) -> None:
    checkpoint = pickled(tmp_path / "pickled", bert_model())
    with pytest.raises(InputError, match=r"is changed before it is loaded: pass scratch, a direct"):
        load_checkpoint(str(checkpoint), allow_pickle=True)


# Several adapters in one checkpoint, as jina-embeddings-v3 has them.

NAMES = ("retrieval_query", "retrieval_passage")


@pytest.fixture
def with_adapters(base: Path) -> dict[str, Any]:
    """Save two adapters into folders of their base; return PEFT's models by name."""
    for number, name in enumerate(NAMES):
        adapted(base / name, base, seed=number)
    return {name: merged(base, base / name) for name in NAMES}


def merged(base: Path, adapter: Path) -> Any:
    import transformers  # noqa: PLC0415
    from peft import PeftModel  # noqa: PLC0415

    model = transformers.AutoModel.from_pretrained(base)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()


def test_one_of_several_adapters(base: Path, with_adapters: dict[str, Any], tmp_path: Path) -> None:
    message = (
        r"base holds the adapters retrieval_passage, retrieval_query, of which none is applied by "
        r"itself: pass --adapter NAME for one of them, --adapter query=NAME --adapter "
        r"document=NAME for both in one artifact, or a copy of the checkpoint without them$"
    )
    with pytest.raises(UnsupportedError, match=message):
        load_checkpoint(str(base), scratch=tmp_path)
    message = r"base has no folder 'other' with an adapter: it has retrieval_passage, retrieval_qu"
    with pytest.raises(UsageError, match=message):
        load_checkpoint(str(base), adapters={None: "other"}, scratch=tmp_path / "a")
    found = load_checkpoint(str(base), adapters={None: NAMES[0]}, scratch=tmp_path / "b")
    require_same_weights(found, with_adapters[NAMES[0]])
    assert found.source["adapter"]["name"] == NAMES[0]


def test_an_adapter_for_each_task(
    base: Path, with_adapters: dict[str, Any], tmp_path: Path
) -> None:
    adapters = parse_adapters([f"query={NAMES[0]}", f"document={NAMES[1]}"])
    found = load_checkpoint(str(base), adapters=adapters, scratch=tmp_path / "scratch")
    assert found.task == "document"
    require_same_weights(found, with_adapters[NAMES[1]])
    require_same_weights(found.ways["query"], with_adapters[NAMES[0]])
    assert found.source["checkpoint"] == "base"


def require_same_weights(found: Any, expected: Any) -> None:
    own = found.model[0].auto_model.state_dict()
    for name, weight in expected.state_dict().items():
        np.testing.assert_allclose(own[name].numpy(), weight.numpy(), atol=1e-6, err_msg=name)


@pytest.mark.parametrize("given", [["query=a"], ["a", "b"], ["query=a", "image=b"]])
def test_adapters_are_one_or_one_for_each_task(given: list[str]) -> None:
    message = r"give one name, or one for each task, --adapter query=NAME --adapter document=NAME$"
    with pytest.raises(UsageError, match=message):
        parse_adapters(given)
