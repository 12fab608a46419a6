"""The parts of a service that need files or extras, according to its settings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.errors import UsageError
from lanner.loading.load import load
from lanner.models.tagging import TaggingModel
from lanner.monitoring.models import Models
from lanner.monitoring.record import Record
from lanner.service.access.certificates import Certificates
from lanner.service.access.expiry import CertificateExpiry
from lanner.service.access.keys import KeyFile
from lanner.service.access.masking import Masker
from lanner.service.access.patterns import read_patterns
from lanner.service.core.canary import Canary, read_known
from lanner.service.core.vocabulary import Vocabulary
from lanner.service.metrics import families
from lanner.service.settings import Settings
from lanner.triton.client.certificates import tls_context

if TYPE_CHECKING:
    from lanner.service.tracing import Tracing

Tell = Callable[[str], object]

#: The protocol of traces, in the words of OpenTelemetry.
_PROTOCOL = "http/protobuf"


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


def open_masker(
    settings: Settings, *, with_model: bool = True, models: Models | None = None
) -> Masker | None:
    """Return what masks texts, or None if nothing is to be masked.

    Args:
        settings: The settings.
        with_model: False leaves out the model of `mask_with`, which takes long to load.
        models: The models in whose figures its batches count; None for those of this process.

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
        if models is not None:
            tagger.count_in(models, tagger.manifest.name, "")
    return Masker(settings.mask, patterns, tagger, settings.mask_regions)


def expiries(settings: Settings, keys: KeyFile | None) -> Callable[[Record], None]:
    """Return a function that writes when certificates and keys expire into a record of metrics.

    Args:
        settings: The settings.
        keys: The keys, or None if requests need none.
    """
    certificate = settings.tls_certificate
    expiry = None if certificate is None else CertificateExpiry(Path(certificate))

    def write(record: Record) -> None:
        if expiry is not None and (at_s := expiry.seconds()) is not None:
            record.set(families.CERTIFICATE_EXPIRY, at_s)
        of_keys = {} if keys is None else keys.expiries()
        for name, at_s in sorted(of_keys.items(), key=lambda one: one[1])[
            : families.MOST_KEY_NAMES
        ]:
            record.set(families.KEY_EXPIRY, at_s, name)

    return write


def open_canary(settings: Settings, tell: Tell = _nobody) -> Canary:
    """Return the canary; without a file it has no known answers.

    Args:
        settings: The settings.
        tell: Takes a message when a model begins to answer otherwise.

    Raises:
        InputError: The file cannot be used.
        UsageError: It knows a model that the service does not have.
    """
    if settings.canary is None:
        return Canary({}, tell)
    known = read_known(Path(settings.canary))
    if missing := sorted(set(known) - set(settings.models)):
        has = ", ".join(settings.models)
        msg = f"{settings.canary} knows {missing[0]}, and the service has {has}: name it so"
        raise UsageError(msg)
    return Canary(known, tell)


def open_vocabulary(settings: Settings) -> Vocabulary | None:
    """Return the vocabulary of token ids that clients of OpenAI send, or None to refuse them.

    Raises:
        LannerError: See `Vocabulary.open`.
    """
    name = settings.openai_vocabulary
    return None if name is None else Vocabulary.open(name)


def wants_traces(settings: Settings) -> bool:
    """Return whether a setting or the environment names a collector of traces."""
    if settings.traces is not None:
        return True
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or os.environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return False
    return bool(
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def open_tracing(settings: Settings) -> "Tracing | None":
    """Return what records traces, or None if nobody gets them.

    Raises:
        MissingExtraError: The extra `otel` is not installed.
        UsageError: The environment asks for another protocol than HTTP.
    """
    if not wants_traces(settings):
        return None
    _require_http()
    from lanner.service import tracing  # noqa: PLC0415 (an extra)

    if settings.trace_ratio is not None:
        return tracing.Tracing(settings.traces, tracing.Share(settings.trace_ratio))
    is_named = bool(os.environ.get("OTEL_TRACES_SAMPLER"))
    return tracing.Tracing(settings.traces, None if is_named else tracing.Allowance())


def _require_http() -> None:
    wanted = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        "OTEL_EXPORTER_OTLP_PROTOCOL": os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL"),
    }
    name, protocol = next(((name, one) for name, one in wanted.items() if one), ("", _PROTOCOL))
    if protocol != _PROTOCOL:
        msg = (
            f"{name} is {protocol!r}, and the service sends traces over HTTP: set it to "
            f"{_PROTOCOL}, and the address to the HTTP port of the collector, usually 4318"
        )
        raise UsageError(msg)


def check(settings: Settings) -> None:
    """Check the files that a service needs.

    Raises:
        LannerError: One is missing or cannot be used.
    """
    open_keys(settings)
    open_certificates(settings)
    open_masker(settings, with_model=False)
    open_vocabulary(settings)
    if wants_traces(settings):
        _require_http()
    if settings.canary is not None:
        read_known(Path(settings.canary))
    files = {name: Path(path) for name, path in settings.triton_certificates.items()}
    if files:
        tls_context(
            files.get("root_certificates"), files.get("certificate_chain"), files.get("private_key")
        )
