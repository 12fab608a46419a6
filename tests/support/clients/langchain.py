"""LangChain's clients for OpenAI, Hugging Face and Cohere, each as its documentation shows it."""

import json
import sys

from huggingface_hub import InferenceClient
from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from langchain_openai import OpenAIEmbeddings

url = sys.argv[1]
openai = OpenAIEmbeddings(
    base_url=f"{url}/v1", api_key="none", model="words", check_embedding_ctx_length=False
)
# LangChain's own client accepts only names on the hub; the one of huggingface_hub accepts a URL.
hub = HuggingFaceEndpointEmbeddings(model="sentence-transformers/words")
hub.client = InferenceClient(f"{url}/models/words")
cohere = CohereEmbeddings(base_url=url, cohere_api_key="none", model="words")
rerank = CohereRerank(base_url=url, cohere_api_key="none", model="scorer")
ranks = rerank.rerank(["a train", "a man plays"], "a man", top_n=1)
print(
    json.dumps(
        {
            "vectors": [
                openai.embed_documents(["a", "b b"]),
                [openai.embed_query("a"), openai.embed_query("b b")],
                hub.embed_documents(["a", "b b"]),
                cohere.embed_documents(["a", "b b"]),
            ],
            "ranks": [[one["relevance_score"] for one in ranks]],
        }
    )
)
