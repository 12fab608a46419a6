"""LiteLLM's providers: OpenAI, hosted vLLM, infinity, Hugging Face and Cohere."""

import json
import sys

import litellm

url = sys.argv[1]


def vectors(provider: str, address: str, **options: str) -> list[list[float]]:
    texts = ["a", "b b"]
    found = litellm.embedding(
        model=f"{provider}/words", input=texts, api_base=address, api_key="none", **options
    )
    return [one["embedding"] for one in found.data]


def ranks(provider: str, address: str) -> list[float]:
    found = litellm.rerank(
        model=f"{provider}/scorer",
        query="a man",
        documents=["a train", "a man plays"],
        top_n=1,
        api_base=address,
        api_key="none",
    )
    return [one["relevance_score"] for one in found.results]


print(
    json.dumps(
        {
            "vectors": [
                vectors("openai", f"{url}/v1"),
                vectors("hosted_vllm", f"{url}/v1"),
                vectors("infinity", f"{url}/infinity"),
                # Without input_type, LiteLLM asks huggingface.co for the task.
                vectors("huggingface", f"{url}/models/words", input_type="embed"),
                vectors("cohere", f"{url}/v2/embed"),
            ],
            "ranks": [
                ranks("cohere", url),
                ranks("hosted_vllm", f"{url}/v1"),
                ranks("infinity", f"{url}/infinity"),
            ],
        }
    )
)
