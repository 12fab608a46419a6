"""Targets of the service as models: artifacts in process, and models of a running server."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import MANIFEST_FILE
from lanner.engines import engine_names
from lanner.errors import ArtifactError, UsageError
from lanner.loading.load import load
from lanner.loading.selection import select
from lanner.models.heads import require_class
from lanner.models.tagging import TaggingModel
from lanner.monitoring.models import Models
from lanner.service.core.served import ServedModel
from lanner.service.settings import Settings
from lanner.triton.client.connection import connect
from lanner.triton.client.text_requests import ServerTokenizer
from lanner.triton.contract.tensors import TEXT_SUFFIX

SCHEMES = ("grpc://", "grpcs://", "http://", "https://")
_ENCRYPTED = ("grpcs://", "https://")
#: The service bounds the waiting tokens itself, so the model's own queue must never fill up.
_ANY_NUMBER = 1 << 30


def is_url(target: str) -> bool:
    """Return whether a target is the address of a running server."""
    return target.startswith(SCHEMES)


def _is_encrypted(target: str) -> bool:
    return target.startswith(_ENCRYPTED)


def is_artifact(target: str) -> bool:
    """Return whether a target is the directory of an artifact."""
    return not is_url(target) and (Path(target) / MANIFEST_FILE).is_file()


def open_target(
    name: str,
    target: str,
    settings: Settings,
    threads: ThreadPoolExecutor,
    *,
    version: int = 1,
    models: Models | None = None,
) -> ServedModel:
    """Return the model of a target.

    Args:
        name: The name for clients; on a Triton server also the name of the model there.
        target: The directory of an artifact, or the address of a running server. An address may end
            in the model's name on that server: ``grpc://localhost:8001/minilm``.
        settings: The settings.
        threads: Threads for long work.
        version: The version number.
        models: See `ServedModel`.

    Raises:
        UsageError: The server tokenizes the texts of the model.
        LannerError: See `lanner.load` and `lanner.connect`.
    """
    if is_url(target):
        url, _, there = target.partition("://")[2].partition("/")
        address = f"{target.partition('://')[0]}://{url}"
        files = settings if _is_encrypted(target) else Settings()
        remote = connect(
            address,
            there or name,
            max_waiting=_ANY_NUMBER,
            root_certificates=files.root_certificates,
            certificate_chain=files.certificate_chain,
            private_key=files.private_key,
        )
        if isinstance(remote.tokenizer, ServerTokenizer):
            msg = (
                f"{target} tokenises on the server, and the service counts and cuts tokens itself: "
                f"name {(there or name).removesuffix(TEXT_SUFFIX)}, the token model beside it"
            )
            raise UsageError(msg)
        return ServedModel(name, remote, threads=threads, version=version, models=models)
    # Resolve a link only once: if it moves meanwhile, tokenizer and weights must be of one version.
    directory = Path(os.path.realpath(target))
    if not (directory / MANIFEST_FILE).is_file():
        msg = f"{target} is not an artifact: it has no {MANIFEST_FILE}"
        raise ArtifactError(msg)
    model = load(
        directory,
        engine=settings.engine,
        variant=settings.variant,
        device=settings.device,
        threads=settings.threads,
        max_waiting=_ANY_NUMBER,
    )
    return ServedModel(
        name, model, threads=threads, directory=directory, version=version, models=models
    )


def require_targets(settings: Settings) -> None:
    """Check that every target is usable, without loading it.

    Raises:
        UsageError: There is no target, one is neither an artifact nor an address, or the
            certificates for Triton would not be used.
    """
    if not settings.models:
        msg = "there is nothing to serve: name an artifact, a Triton repository or an address"
        raise UsageError(msg)
    for name, target in settings.models.items():
        if not is_url(target) and not is_artifact(target):
            msg = f"the target {target} of {name} is neither an artifact nor an address of a server"
            raise UsageError(msg)
    if settings.triton_certificates and not any(map(_is_encrypted, settings.models.values())):
        names = ", ".join(settings.triton_certificates)
        msg = f"{names} would not be used: no target begins with {' or '.join(_ENCRYPTED)}"
        raise UsageError(msg)


def check_artifacts(settings: Settings) -> None:
    """Check that the artifacts fit the settings, without loading their weights.

    Raises:
        LannerError: An artifact is damaged or lacks a variant or prompt, an engine or device does
            not exist, or the artifact for masking has another head than `tag`.
    """
    if settings.engine not in ("auto", *engine_names()):
        msg = f"there is no engine {settings.engine!r}: use {', '.join(engine_names())} or 'auto'"
        raise UsageError(msg)
    for name, target in settings.models.items():
        if not is_artifact(target):
            continue
        artifact = Artifact.open(target)
        select(artifact, engine=settings.engine, variant=settings.variant, device=settings.device)
        for alias, full in settings.aliases.items():
            model, _, prompt = full.partition(":")
            known = [*artifact.manifest.prompts, *artifact.manifest.tasks]
            if model == name and prompt and prompt not in known:
                has = ", ".join(known) or "none"
                msg = f"the alias {alias!r} names the prompt {prompt!r}, and {name} has {has}"
                raise UsageError(msg)
    if settings.mask_with is not None:
        manifest = Artifact.open(settings.mask_with).manifest
        require_class(manifest, TaggingModel, settings.mask_with)
