"""An embedding backend for KeyBERT.

KeyBERT accepts models of the libraries that it knows. For any other model it silently loads one of
its own. It accepts a backend of its own base class.
"""

from keybert.backend import BaseEmbedder

from lanner.integrations.text_backend import TextBackend


class LannerBackend(TextBackend, BaseEmbedder):
    """Gives KeyBERT the vectors of a model; see `TextBackend`."""
