"""Haystack's clients for OpenAI and Cohere, infinity's client, and TEI's client."""

import json
import sys

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from infinity_client import Client
from infinity_client.api.default import embeddings, rerank
from infinity_client.models import OpenAIEmbeddingInputText, RerankInput
from tei_client import HttpClient

url = sys.argv[1]
texts = ["a", "b b"]
key = Secret.from_token("none")
documents = [Document(content=text) for text in texts]
openai = {"api_base_url": f"{url}/v1", "api_key": key, "model": "words"}
by_document = OpenAIDocumentEmbedder(**openai, progress_bar=False).run(documents)["documents"]
by_text = [OpenAITextEmbedder(**openai).run(text)["embedding"] for text in texts]
ranker = CohereRanker(model="scorer", top_k=1, api_key=key, api_base_url=url)
candidates = [Document(content=text) for text in ("a train", "a man plays")]
ranked = ranker.run(query="a man", documents=candidates)["documents"]
infinity = Client(base_url=f"{url}/infinity")
found = embeddings.sync(client=infinity, body=OpenAIEmbeddingInputText(input_=texts, model="words"))
ranks = rerank.sync(
    client=infinity,
    body=RerankInput(query="a man", documents=["a train", "a man plays"], model="scorer", top_n=1),
)
tei = HttpClient(url)
print(
    json.dumps(
        {
            "vectors": [
                [one.embedding for one in by_document],
                by_text,
                [one.embedding for one in found.data],
                [list(one) for one in tei.embed(texts)],
            ],
            "ranks": [
                [one.score for one in ranked],
                [one.relevance_score for one in ranks.results],
            ],
        }
    )
)
