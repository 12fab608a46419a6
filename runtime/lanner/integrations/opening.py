"""The models that adapters take: loaded ones, artifacts, or models on a server."""

import os
from pathlib import Path
from typing import Any

from lanner.errors import InputError, UnsupportedError
from lanner.loading.load import load
from lanner.models.base import Model
from lanner.models.heads import ModelT, require_class
from lanner.triton.client.connection import connect

#: What adapters take for a model.
ModelOrPlace = Model | str | Path


def opened(model: ModelOrPlace, head: type[ModelT], options: dict[str, Any]) -> ModelT:
    """Return a model of a head.

    Args:
        model: A loaded model, the directory of an artifact, or the URL of a model on a server, such
            as ``grpc://localhost:8001/minilm``.
        head: The class of the model.
        options: The arguments of `lanner.load` or `lanner.connect`.

    Raises:
        HeadError: The model has another head.
        InputError: A loaded model takes no options, or a URL names no model.
        LannerError: See `lanner.load` and `lanner.connect`.
    """
    if isinstance(model, Model):
        if options:
            msg = f"{model.manifest.name} is loaded already: omit {', '.join(options)}"
            raise InputError(msg)
        require_class(model.manifest, head, model.manifest.name)
        return model  # type: ignore[return-value]
    place = os.fspath(model)
    if "://" not in place:
        return load(place, head=head, **options)
    url, _, name = place.rpartition("/")
    if not name or url.endswith("/"):
        msg = f"{place} names no model: add it, for example {place.rstrip('/')}/minilm"
        raise InputError(msg)
    return connect(url, name, head=head, **options)


def place_of(model: ModelOrPlace) -> str:
    """Return the path or URL that an adapter was made with, to write it into a configuration.

    Raises:
        UnsupportedError: It was made with a loaded model.
    """
    if isinstance(model, Model):
        msg = (
            f"the adapter of {model.manifest.name} has a loaded model, which no configuration can "
            "hold: make it with the path or the URL of the model"
        )
        raise UnsupportedError(msg)
    return os.fspath(model)
