"""An embedding backend of BERTopic.

BERTopic takes models of the libraries that it knows. For any other it loads one of its own, without
a word. It takes a backend of its own base class as it is.
"""

from bertopic.backend import BaseEmbedder

from lanner.integrations.text_backend import TextBackend


class LannerBackend(TextBackend, BaseEmbedder):  # type: ignore[misc]  # bertopic is untyped
    """Gives BERTopic the vectors of a model; see `TextBackend`."""
