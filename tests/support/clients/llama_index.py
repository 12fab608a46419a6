"""LlamaIndex's clients for OpenAI, Text Embeddings Inference and Cohere."""

import json
import sys

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

url = sys.argv[1]
texts = ["a", "b b"]
openai = OpenAILikeEmbedding(model_name="words", api_base=f"{url}/v1", api_key="none")
tei = TextEmbeddingsInference(model_name="words", base_url=url, auth_token="none")  # noqa: S106 (none)
nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a train", "a man plays")]
rankers = [
    TextEmbeddingInference(base_url=url, top_n=1, auth_token="none"),  # noqa: S106 (none)
    CohereRerank(base_url=url, api_key="none", model="scorer", top_n=1),
]
print(
    json.dumps(
        {
            "vectors": [
                openai.get_text_embedding_batch(texts),
                tei.get_text_embedding_batch(texts),
            ],
            "ranks": [
                [one.score for one in ranker.postprocess_nodes(nodes, QueryBundle("a man"))]
                for ranker in rankers
            ],
        }
    )
)
