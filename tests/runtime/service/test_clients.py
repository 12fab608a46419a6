"""Clients of other services, unchanged: those of OpenAI, Cohere and Hugging Face."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.service import Service, serving
from tests.support.word_artifact import write_word_artifact

from lanner.artifact.artifact import Artifact


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")


@pytest.fixture(scope="module")
def service(words: Path) -> Iterator[Service]:
    with serving({"words": words}) as running:
        yield running


def test_openai(service: Service) -> None:
    openai = pytest.importorskip("openai", reason="needs the dev extra")
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        # It asks for base64 by itself.
        found = client.embeddings.create(model="words", input=["a", "b b"])
        assert [one.embedding for one in found.data] == [[1, 0, 0, 0], [0, 1, 0, 0]]
        assert found.usage.prompt_tokens == 3
        plain = client.embeddings.create(model="words", input="a", encoding_format="float")
        assert plain.data[0].embedding == [1, 0, 0, 0]
        short = client.embeddings.create(model="words", input="a", dimensions=2)
        assert short.data[0].embedding == [1, 0]
        assert [model.id for model in client.models.list()] == ["words"]
        assert client.models.retrieve("words").owned_by == "lanner"
        with pytest.raises(openai.NotFoundError, match="there is no such model") as missing:
            client.embeddings.create(model="other", input="a")
        assert missing.value.code == "model_not_found"
        assert missing.value.request_id
        with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
            client.embeddings.create(model="words", input=[[1, 2]])


def test_openai_waits_as_long_as_it_is_told(words: Path) -> None:
    openai = pytest.importorskip("openai", reason="needs the dev extra")
    with serving({"words": words}, request_timeout_s=1e-6) as service:
        url = f"{service.url}/v1"
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=1)
        with client, pytest.raises(openai.RateLimitError, match="the time for this request is up"):
            client.embeddings.create(model="words", input="a")
        counted = (
            'lanner_requests_total{route="/v1/embeddings",model="words",key="",status="429"} 2'
        )
        assert counted in service.get("/metrics").body.decode()


def test_cohere(service: Service, scorer_artifact: Artifact) -> None:
    cohere = pytest.importorskip("cohere", reason="needs the dev extra")
    del service
    with serving({"scorer": scorer_artifact.directory}) as running:
        documents = ["someone plays a string instrument", "the train leaves at seven"]
        with cohere.ClientV2(api_key="none", base_url=running.url) as client:
            ranked = client.rerank(model="scorer", query="a man", documents=documents, top_n=1)
        assert len(ranked.results) == 1
        assert 0 < ranked.results[0].relevance_score < 1


def test_cohere_embeds(service: Service) -> None:
    cohere = pytest.importorskip("cohere", reason="needs the dev extra")
    with cohere.ClientV2(api_key="none", base_url=service.url) as client:
        found = client.embed(
            model="words",
            texts=["a", "b b"],
            input_type="classification",
            embedding_types=["float", "ubinary"],
        )
        assert found.embeddings.float_ == [[1, 0, 0, 0], [0, 1, 0, 0]]
        assert found.embeddings.ubinary == [[0b1000_0000], [0b0100_0000]]
        with pytest.raises(cohere.NotFoundError) as missing:
            client.embed(
                model="other", texts=["a"], input_type="search_query", embedding_types=["float"]
            )
    assert "there is no such model" in str(missing.value.body)


#: In a process of its own: with `HF_HUB_OFFLINE` the client refuses every address.
_HUB = """
import json, sys
from huggingface_hub import InferenceClient
client = InferenceClient(sys.argv[1])
of_model = InferenceClient(sys.argv[1] + "/models/words")
print(json.dumps({
    "one": client.feature_extraction("a").tolist(),
    "prompted": of_model.feature_extraction("b", prompt_name="query").tolist(),
    "similar": client.sentence_similarity("a", other_sentences=["a", "b"]),
}))
"""


def test_hugging_face(service: Service) -> None:
    pytest.importorskip("huggingface_hub")
    done = subprocess.run(
        [sys.executable, "-c", _HUB, service.url],
        env={**os.environ, "HF_HUB_OFFLINE": "0"},
        check=True,
        capture_output=True,
    )
    found = json.loads(done.stdout)
    assert found["one"] == [[1, 0, 0, 0]]
    np.testing.assert_allclose(found["prompted"], [[0.5**0.5, 0.5**0.5, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(found["similar"], [1, 0], atol=1e-6)
