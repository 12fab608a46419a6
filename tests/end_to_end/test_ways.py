"""Queries and documents by ways of their own: sentence-transformers' Router and Asym."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES, plain_checkpoint
from tests.support.made_once import made_once
from tests.support.routed import asym_checkpoint, routed_checkpoint

import lanner
from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.errors import InputError, UnsupportedError
from lanner.models.embedding import EmbeddingModel

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")

from tests.conftest import exported  # noqa: E402 (needs the export extra)

TEXTS = [*SENTENCES, "", "a", "a man " * 20, "How do I reset my \N{FOX FACE} password?"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "routed", routed_checkpoint)


@pytest.fixture(scope="module")
def artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return exported(checkpoint, tmp_path_factory)


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def model(artifact: Artifact) -> EmbeddingModel:
    return lanner.load(artifact.directory, variant="fp32", threads=2, head=EmbeddingModel)


def same(found: Any, expected: Any, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, atol=atol)


def test_every_way_is_that_of_the_router(model: EmbeddingModel, reference: Any) -> None:
    same(model.encode_query(TEXTS), reference.encode_query(TEXTS))
    same(model.encode_document(TEXTS), reference.encode_document(TEXTS))
    same(model.encode(TEXTS), reference.encode(TEXTS))  # the default way, of documents
    for task in ("query", "document"):
        same(model.encode(TEXTS, task=task), reference.encode(TEXTS, task=task))
        same(
            model.encode(TEXTS, task=task, prompt_name="query"),
            reference.encode(TEXTS, task=task, prompt_name="query"),
        )
    assert np.abs(model.encode_query("a man") - model.encode_document("a man")).max() > 0.1


def test_search_and_similarity_take_the_right_ways(model: EmbeddingModel, reference: Any) -> None:
    found = model.search(TEXTS[:2], list(SENTENCES), k=3)
    scores = reference.encode_query(TEXTS[:2]) @ reference.encode_document(list(SENTENCES)).T
    same(found.scores, -np.sort(-scores, axis=1)[:, :3])
    # The way of queries reads 8 tokens, that of documents 16.
    assert model.cut_indices(["a man is playing a guitar a man"], task="query") == [0]
    assert model.cut_indices(["a man is playing a guitar a man"]) == []
    assert model.way("query").count_tokens("a man") == 4
    chunked = model.encode("a man " * 20, task="query", on_long="chunk")
    assert chunked.shape == (12,)


def test_other_tasks_are_refused(model: EmbeddingModel) -> None:
    message = r"^there is no task 'image': use 'query' or 'document'$"
    with pytest.raises(InputError, match=message):
        model.encode("a man", task="image")
    message = (
        r"^routed:query reads the texts of the task 'query' alone, and a document takes another "
        r"way: open the model of that way, or the artifact with lanner\.load$"
    )
    with pytest.raises(UnsupportedError, match=message):
        model.way("query").encode("a man", task="document")


def test_int8_and_the_card_hold_both_ways(artifact: Artifact, reference: Any) -> None:
    manifest = artifact.manifest
    assert manifest.tasks == ["document", "query"]
    assert [variant.file for variant in manifest.ways["query"].variants] == [
        "query.fp32.onnx",
        "query.int8.onnx",
    ]
    assert manifest.ways["query"].architecture.layers == 1
    quality = artifact.quality()
    assert set(quality["ways"]["query"]["variants"]) >= {"fp32", "int8"}
    model = lanner.load(artifact.directory, variant="int8", head=EmbeddingModel)
    cosines = (model.encode_query(TEXTS) * reference.encode_query(TEXTS)).sum(axis=1)
    assert cosines[[0, 1, 2]].min() > 0.9
    assert model.encode_query(TEXTS, precision="int8").dtype == np.int8


def test_the_command_line(
    artifact: Artifact, model: EmbeddingModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inspect", str(artifact.directory)])
    shown = capsys.readouterr().out
    assert "  query       bert, 1 layers, 0.0 M parameters; 8 tokens, longer texts are cut" in shown
    assert "int8 of query" in shown
    assert "query: against the checkpoint:" in shown
    directory = str(artifact.directory)
    output = tmp_path / "vectors.npy"
    text = "a man is playing a guitar"
    options = ["--variant", "fp32", "--task", "query", "--output", str(output)]
    main(["encode", directory, text, *options])
    same(np.load(output)[0], model.encode_query(text))
    capsys.readouterr()
    main(["similarity", directory, text, "the train", "--variant", "fp32", "--json"])
    answer = json.loads(capsys.readouterr().out)
    expected = model.similarity(model.encode_query(text), model.encode_document("the train"))
    assert answer["similarity"] == pytest.approx(float(expected[0, 0]), abs=1e-6)


def test_the_service_takes_the_way_of_a_prompt(artifact: Artifact, model: EmbeddingModel) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra 'service'")
    from tests.support.service import serving  # noqa: PLC0415 (an extra)

    text = "a man is playing a guitar"
    with serving({"routed": artifact.directory}, variant="fp32") as service:

        def embedded(body: dict[str, Any], path: str = "/v1/embeddings") -> Any:
            answer = service.post(path, {"model": "routed", "input": text, **body})
            assert answer.status == 200, answer.body
            return answer.json

        query, document = model.encode_query(text), model.encode_document(text)
        for body, expected in (
            ({"prompt_name": "query"}, query),
            ({"prompt_name": "document"}, document),
            ({"model": "routed:query"}, query),
            ({}, model.encode(text)),
        ):
            same(embedded(body)["data"][0]["embedding"], expected)
        cohere = {"texts": [text], "embedding_types": ["float"]}
        for kind, expected in (("search_query", query), ("search_document", document)):
            found = embedded({**cohere, "input_type": kind}, "/v2/embed")
            same(found["embeddings"]["float"][0], expected)
        tei = service.post("/embed", {"inputs": text, "prompt_name": "query"})
        same(tei.json[0], query)
        client = lanner.connect(service.url, "routed", head=EmbeddingModel)
        same(client.encode_query(text), query)
        same(client.encode_document(text), document)


@pytest.mark.slow
def test_on_triton(
    artifact: Artifact, model: EmbeddingModel, tmp_path: Path, tritonserver: Any
) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
    from lanner.triton.lint.linter import lint  # noqa: PLC0415 (an extra)
    from lanner.triton.repository.write import write_repository  # noqa: PLC0415
    from lanner.triton.server.server import TritonServer  # noqa: PLC0415

    repository = tmp_path / "models"
    written = write_repository([artifact.directory], repository, variant="fp32")
    names = ["routed", "routed_text", "routed_query", "routed_query_text"]
    assert [one.name for one in written] == names
    assert not [found for found in lint(repository) if str(found.severity) == "error"]
    server = TritonServer(
        repository, http_port=0, grpc_port=0, metrics_port=0, installation=tritonserver
    )
    with server:
        url = server.grpc_url
        for name in names[:2]:
            client = lanner.connect(url, name, head=EmbeddingModel)
            same(client.encode_query(TEXTS), model.encode_query(TEXTS))
            same(client.encode_document(TEXTS), model.encode_document(TEXTS))
        alone = lanner.connect(url, names[2], head=EmbeddingModel)
        same(alone.encode(TEXTS, task="query"), model.encode(TEXTS, task="query"))
        with pytest.raises(UnsupportedError, match="reads the texts of the task 'query' alone"):
            alone.encode_document(TEXTS)


@pytest.mark.slow
def test_queries_of_a_table(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    checkpoint = routed_checkpoint(tmp_path / "static", query="static")
    artifact = exported(checkpoint, tmp_path_factory)
    reference = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    for variant, atol in (("fp32", 1e-5), ("int8", 0.3)):
        model = lanner.load(artifact.directory, variant=variant, head=EmbeddingModel)
        same(model.encode_query(TEXTS), reference.encode_query(TEXTS), atol)
        same(model.encode_document(TEXTS), reference.encode_document(TEXTS), atol)
    assert artifact.manifest.ways["query"].architecture.model_type == "StaticEmbedding"


@pytest.mark.slow
def test_asym_of_older_releases(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    checkpoint = asym_checkpoint(tmp_path / "asym")
    artifact = exported(checkpoint, tmp_path_factory)
    reference = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    model = lanner.load(artifact.directory, variant="fp32", head=EmbeddingModel)
    same(model.encode(TEXTS, task="query"), reference.encode(TEXTS, task="query"))
    same(model.encode(TEXTS, task="document"), reference.encode(TEXTS, task="doc"))
    same(model.encode(TEXTS, task="doc"), reference.encode(TEXTS, task="doc"))
    same(model.encode(TEXTS), reference.encode(TEXTS))  # the first route, of queries
    assert artifact.manifest.task == "query"


@pytest.mark.slow
def test_a_trimmed_router(checkpoint: Path, tmp_path: Path) -> None:
    from lanner_export.export import export  # noqa: PLC0415

    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a man is playing a guitar\nthe train leaves at seven\n")
    trimmed = export(checkpoint, tmp_path / "trimmed.lanner", vocabulary_from=corpus)
    query = trimmed.manifest.ways["query"]
    assert query.trimming["tokens"]["kept"] < query.trimming["tokens"]["of"]
    reference = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    model = lanner.load(trimmed.directory, variant="fp32", head=EmbeddingModel)
    text = "a man is playing a guitar"
    same(model.encode_query(text), reference.encode_query(text))
    same(model.encode_document(text), reference.encode_document(text))


@pytest.mark.slow
def test_a_budget_of_both_ways(checkpoint: Path, tmp_path: Path) -> None:
    from lanner.artifact.quality_budget import QualityBudget  # noqa: PLC0415
    from lanner_export.export import export  # noqa: PLC0415

    budget = QualityBudget.parse("cosine:0.9999")
    kept = export(checkpoint, tmp_path / "kept.lanner", budget=budget)
    own = kept.manifest.variant("int8")
    assert own is not None
    assert own.float32_products
    for task in kept.manifest.tasks:
        figures = kept.way(task).quality()["agreement"]["variants"]["int8"]
        assert figures["cosine"] >= 0.9999


def test_a_broken_way_is_found(artifact: Artifact, tmp_path: Path) -> None:
    copy = tmp_path / "copy.lanner"
    copy.mkdir()
    for path in artifact.directory.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damaged = copy / "query.fp32.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(lanner.errors.CorruptArtifactError, match=r"query\.fp32\.onnx"):
        lanner.load(copy, variant="fp32")
    content = json.loads((copy / "manifest.json").read_text())
    assert content["ways"]["query"]["tokenizer"]["file"] == "query.tokenizer.json"


@pytest.mark.slow
def test_the_task_adapters_of_jina_v3(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs the extra 'peft'")
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415
    from tests.support.architectures import MATRIX  # noqa: PLC0415

    from lanner_export.export import export  # noqa: PLC0415

    if not hasattr(transformers, "JinaEmbeddingsV3Model"):
        pytest.skip("needs transformers 5")
    row = MATRIX["Jina v3"]
    torch.manual_seed(0)
    config = transformers.JinaEmbeddingsV3Config(**row.config)
    checkpoint = plain_checkpoint(
        tmp_path / "jina", transformers.JinaEmbeddingsV3Model(config).eval(), row.tokenizer()
    )
    names = {"query": "retrieval_query", "document": "retrieval_passage"}
    for name in names.values():
        model = transformers.AutoModel.from_pretrained(checkpoint)
        adapted = peft.get_peft_model(
            model, peft.LoraConfig(r=2, lora_alpha=8, target_modules="all-linear")
        )
        for key, weight in adapted.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(weight, std=0.2)
        adapted.save_pretrained(checkpoint / name)
    adapters = [f"{task}={name}" for task, name in names.items()]
    artifact = export(
        checkpoint, tmp_path / "jina.lanner", adapters=adapters, pooling="mean", precisions=["fp32"]
    )
    lanner_model = lanner.load(artifact.directory, head=EmbeddingModel)
    tokenizer = row.tokenizer()
    text = "a man is playing a guitar"
    for task, name in names.items():
        reference = transformers.AutoModel.from_pretrained(checkpoint)
        reference.load_adapter(str(checkpoint), name, adapter_kwargs={"subfolder": name})
        reference.set_adapter(name)
        with torch.no_grad():
            tokens = reference(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        same(lanner_model.encode(text, task=task), tokens.mean(dim=0).numpy(), 1e-4)
