"""An embedding backend for BERTopic.

BERTopic accepts models of the libraries that it knows. For any other model it silently loads one of
its own. It accepts a backend of its own base class.
"""

from bertopic.backend import BaseEmbedder

from lanner.integrations.text_backend import TextBackend


class LannerBackend(TextBackend, BaseEmbedder):
    """Gives BERTopic the vectors of a model; see `TextBackend`."""
