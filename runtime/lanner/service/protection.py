"""The parts of a service that need files or extras, according to its settings."""

from collections.abc import Callable
from pathlib import Path

from lanner.loading.load import load
from lanner.models.tagging import TaggingModel
from lanner.service.access.certificates import Certificates
from lanner.service.access.keys import KeyFile
from lanner.service.access.masking import Masker
from lanner.service.access.patterns import read_patterns
from lanner.service.core.vocabulary import Vocabulary
from lanner.service.settings import Settings
from lanner.triton.client.certificates import tls_context

Tell = Callable[[str], object]


def _nobody(_: str) -> None:
    """Ignore a message."""


def open_keys(settings: Settings, tell: Tell = _nobody) -> KeyFile | None:
    """Return the keys that requests need, or None if they need none.

    Args:
        settings: The settings.
        tell: Takes messages about later changes of the file.

    Raises:
        InputError: The file cannot be used.
    """
    return None if settings.keys is None else KeyFile(Path(settings.keys), tell)


def open_certificates(settings: Settings, tell: Tell = _nobody) -> Certificates | None:
    """Return the certificates, or None for a service without TLS.

    Args:
        settings: The settings.
        tell: Takes messages about later changes of the files.

    Raises:
        InputError: A file cannot be used.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    clients = None if settings.tls_client_ca is None else Path(settings.tls_client_ca)
    return Certificates(Path(settings.tls_certificate), Path(settings.tls_key), clients, tell)


def open_masker(settings: Settings, *, with_model: bool = True) -> Masker | None:
    """Return what masks texts, or None if nothing is to be masked.

    Args:
        settings: The settings.
        with_model: False leaves out the model of `mask_with`, which takes long to load.

    Raises:
        LannerError: A file or an extra is missing, or the model has another head than `tag`.
    """
    if not (settings.mask or settings.mask_patterns or settings.mask_with):
        return None
    patterns, tagger = None, None
    if settings.mask_patterns is not None:
        patterns = read_patterns(Path(settings.mask_patterns))
    if settings.mask_with is not None and with_model:
        tagger = load(settings.mask_with, head=TaggingModel, threads=settings.threads)
    return Masker(settings.mask, patterns, tagger, settings.mask_regions)


def open_vocabulary(settings: Settings) -> Vocabulary | None:
    """Return the vocabulary of token ids that clients of OpenAI send, or None to refuse them.

    Raises:
        LannerError: See `Vocabulary.open`.
    """
    name = settings.openai_vocabulary
    return None if name is None else Vocabulary.open(name)


def check(settings: Settings) -> None:
    """Check the files that a service needs.

    Raises:
        LannerError: One is missing or cannot be used.
    """
    open_keys(settings)
    open_certificates(settings)
    open_masker(settings, with_model=False)
    open_vocabulary(settings)
    files = {name: Path(path) for name, path in settings.triton_certificates.items()}
    if files:
        tls_context(
            files.get("root_certificates"), files.get("certificate_chain"), files.get("private_key")
        )
