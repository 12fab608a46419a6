"""Files of a checkpoint name nothing outside of it, and hold no more than is exported."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.checkpoints import edit_json

from lanner.errors import CheckpointError, UnsupportedError

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.checkpoint.config import read_config
from lanner_export.checkpoint.contents import require_inside
from lanner_export.checkpoint.modules import module_entries, read_settings
from lanner_export.loading import load_checkpoint


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may break, with another checkpoint beside it."""
    shutil.copytree(tiny_checkpoint, tmp_path / "other")
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"tokenizer_name_or_path": "../other"}, r"tokenizer_name_or_path '../other'"),
        ({"tokenizer_name_or_path": "bert-base-uncased"}, r"tokenizer_name_or_path 'bert-base-un"),
        ({"model_args": {"subfolder": "../other"}}, r"subfolder '../other'"),
        ({"processor_kwargs": {"subfolder": "/etc"}}, r"subfolder '/etc'"),
        ({"config_args": {"cache_dir": "/var/x"}}, r"cache_dir '/var/x'"),
    ],
)
@pytest.mark.parametrize("file", ["sentence_bert_config.json", "1_Pooling/config.json"])
def test_settings_do_not_lead_out(
    checkpoint: Path, file: str, setting: dict[str, Any], what: str
) -> None:
    edit_json(checkpoint / file, **setting)
    with pytest.raises(
        CheckpointError, match=rf"{file} names {what}.*, which is not in the checkpoint: Lanner"
    ):
        load_checkpoint(str(checkpoint))


def test_other_files_may_hold_anything(checkpoint: Path) -> None:
    (checkpoint / "data_config.json").write_text('[{"subfolder": "../other"}]')
    load_checkpoint(str(checkpoint))


@pytest.mark.parametrize(
    "name", ["config.json", "modules.json", "tokenizer.json", "model.safetensors", "1_Pooling/x"]
)
def test_a_pipe_is_not_waited_for(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink(missing_ok=True)
    os.mkfifo(checkpoint / name)
    with pytest.raises(CheckpointError, match=rf"{name} is not a regular file: take it out of the"):
        load_checkpoint(str(checkpoint))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "1_Pooling/config.json"])
def test_a_sparse_giant_is_not_read(checkpoint: Path, name: str) -> None:
    with (checkpoint / name).open("wb") as file:
        file.truncate(8 * 2**30)
    with pytest.raises(
        CheckpointError, match=rf"{name} has more than the 268,435,456 bytes that such a file may"
    ):
        load_checkpoint(str(checkpoint))


@pytest.mark.parametrize("place", ["../other", "/etc", "1_Pooling/../../other"])
def test_modules_do_not_lead_out(checkpoint: Path, place: str) -> None:
    modules = json.loads((checkpoint / "modules.json").read_text())
    modules[2]["path"] = place
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"modules.json names the module .*, which is not in"):
        load_checkpoint(str(checkpoint))


def test_an_index_of_weights_does_not_lead_out(checkpoint: Path) -> None:
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../other/model.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        CheckpointError, match=r"index.json names '../other/model.safetensors', which is not in"
    ):
        load_checkpoint(str(checkpoint))


def test_files_of_a_tokenizer_do_not_lead_out(checkpoint: Path) -> None:
    settings = checkpoint / "tokenizer_config.json"
    # The path existed on its author's machine; here it names nothing.
    edit_json(settings, special_tokens_map_file="/home/author/.cache/special_tokens_map.json")
    load_checkpoint(str(checkpoint))
    edit_json(settings, vocab_file="../other/tokenizer.json")
    with pytest.raises(
        CheckpointError, match=r"tokenizer_config.json names vocab_file '../other/tokenizer.json'"
    ):
        load_checkpoint(str(checkpoint))


def test_the_manifest_keeps_no_path_of_this_machine(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_checkpoint(str(checkpoint)).source["checkpoint"] == "checkpoint"
    monkeypatch.chdir(checkpoint)
    assert load_checkpoint(".").source["checkpoint"] == "checkpoint"


@pytest.mark.parametrize(
    ("file", "library"),
    [
        ("config_setfit.json", "SetFit"),
        ("head_config.json", "AdapterHub"),
    ],
)
def test_a_classifier_of_another_library_is_dropped_only_when_asked(
    checkpoint: Path, file: str, library: str
) -> None:
    (checkpoint / file).write_text("{}")
    what = rf"a classifier of {library} \({file}\)"
    for head in ("auto", "classify"):
        with pytest.raises(
            UnsupportedError, match=rf"holds {what}, which Lanner does not export: pass --head emb"
        ):
            load_checkpoint(str(checkpoint), head=head)
    (warning,) = load_checkpoint(str(checkpoint), head="embed").warnings
    assert warning == f"the head of {checkpoint} is left out: a classifier of {library} ({file})"


@pytest.mark.parametrize(
    "content",
    ['[{"type": "x", "path": "' + "a" * 5_000 + '"}]', "[" * 10**5, '[{"type": 1, "path": 2}]'],
    ids=["long", "deep", "numbers"],
)
def test_modules_that_are_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "modules.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=rf"^{path} is not a list of modules with type and p"):
        module_entries(path)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"prompts": "query: "}, r"\"\['query: '\]\" as prompts"),
        ({"prompts": [["query", "q"]]}, r"\"\[\[\['query', 'q'\]\]\]\" as prompts"),
        ({"prompts": {"query": 1}}, "'1' as query"),
        ({"default_prompt_name": ["query"]}, r"\"\['query'\]\" as default_prompt_name"),
    ],
    ids=str,
)
def test_prompts_that_are_no_texts(tmp_path: Path, settings: dict[str, Any], what: str) -> None:
    path = tmp_path / "config_sentence_transformers.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=rf"^{path} has {what}, which must be a text$"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 10**30),
        ("vocab_size", 2**25),
        ("num_hidden_layers", 1_001),
        ("num_attention_heads", 2**31),
        ("max_position_embeddings", 2**40),
    ],
)
def test_a_model_larger_than_any_is_not_built(tmp_path: Path, name: str, value: int) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "bert", name: value}))
    with pytest.raises(
        CheckpointError, match=rf"^{path} says {name} {value}, which is more than any encoder has$"
    ):
        read_config(tmp_path, "it")


@pytest.mark.parametrize("classes", ["BertModel", [1.5], {"a": 1}, ["BertModel", None]], ids=str)
def test_architectures_that_are_no_names(tmp_path: Path, classes: object) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "bert", "architectures": classes}))
    with pytest.raises(CheckpointError, match=r"has the architectures .*, which must be names of"):
        read_config(tmp_path, "it")


def test_a_name_too_long_for_a_file_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"vocab_file": "/" + "a" * 9_999}))
    require_inside(tmp_path)


@pytest.mark.parametrize("limit", ["many", [64], 1e999])
def test_a_limit_that_is_no_number(classifier_checkpoint: Path, tmp_path: Path, limit: Any) -> None:
    path = Path(shutil.copytree(classifier_checkpoint, tmp_path / "it"))
    edit_json(path / "tokenizer_config.json", model_max_length=limit)
    if limit == 1e999:
        assert load_checkpoint(str(path)).max_tokens == 64  # the number of its positions
        return
    with pytest.raises(
        CheckpointError, match=r"limits an input to .*, which must be a number of t"
    ):
        load_checkpoint(str(path))
