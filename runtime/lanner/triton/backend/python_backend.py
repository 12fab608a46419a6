"""The models that run inside Triton's Python backend.

A repository's ``model.py`` gives one of the two classes the name that the backend looks for. The
requests of a batch run together, packed by the runtime's own scheduler, so that unequal lengths
cost nothing. A request that cannot be answered fails alone.

The backend: https://github.com/triton-inference-server/python_backend
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from lanner.artifact.artifact import Artifact
from lanner.errors import DeadlineError, InputError, LannerError, Overloaded
from lanner.loading.load import load, open_model
from lanner.machine.machine import available_cores
from lanner.models.base import Model
from lanner.triton.backend.packing import TokenRequest, run_together
from lanner.triton.backend.text_answers import TextRequest, answer_texts
from lanner.triton.backend.token_model import BackendEngine
from lanner.triton.contract.served_model import ServedModel
from lanner.triton.contract.tensors import DEVICE, ENGINE, PROMPT_NAME, TEXT, TEXT_PAIR, TOKEN_MODEL

Tensors = Mapping[str, NDArray[Any]]
Request = TypeVar("Request")


class _ServedModel(ABC, Generic[Request]):
    """The base of both models: read requests, answer them together, respond to each."""

    model: Model

    def initialize(self, args: Mapping[str, str]) -> None:
        """Initialize the model; the backend calls this once, before the model is ready.

        Args:
            args: The arguments of the backend: the model's configuration as JSON, its directory and
                its version.
        """
        version = args["model_version"]
        served = ServedModel.of(args["model_name"], version, json.loads(args["model_config"]))
        directory = Path(args["model_repository"]) / version
        _require_numpy()
        try:
            self.model = self.open(directory, served)
        except LannerError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return the response to each request, in order."""
        read = [self._read(request) for request in requests]
        good = [request for request in read if not isinstance(request, BaseException)]
        found = iter(self._together(good))
        results = [one if isinstance(one, BaseException) else next(found) for one in read]
        return [_response(result) for result in results]

    @abstractmethod
    def open(self, directory: Path, served: ServedModel) -> Model:
        """Open the model in a version's directory."""

    @abstractmethod
    def read(self, request: Any) -> Request:
        """Return the content of a request.

        Raises:
            InputError: The request cannot be answered.
        """

    @abstractmethod
    def answer(self, requests: list[Request]) -> Sequence[Tensors]:
        """Return the output tensors of each request."""

    def _read(self, request: Any) -> Request | BaseException:
        # Triton drops cancelled requests from its queue; checking each again would take longer than
        # reading it.
        try:
            return self.read(request)
        except InputError as error:
            return error

    def _together(self, requests: list[Request]) -> Sequence[Tensors | BaseException]:
        if not requests:
            return []
        try:
            return self.answer(requests)
        except Exception as error:  # noqa: BLE001 (the engine's; the request gets it as its answer)
            if len(requests) == 1:
                return [error]
        # Perhaps only one request is to blame.
        return [one for request in requests for one in self._together([request])]


class TokenModel(_ServedModel[TokenRequest]):
    """The model ``<name>``: tokens to vectors or logits."""

    def open(self, directory: Path, served: ServedModel) -> Model:
        """See `_ServedModel.open`."""
        return _load(directory, served)

    def read(self, request: Any) -> TokenRequest:
        """See `_ServedModel.read`."""
        manifest = self.model.manifest
        tensors = {name: _input(request, name) for name in manifest.inputs}
        return TokenRequest.of({k: v for k, v in tensors.items() if v is not None}, manifest)

    def answer(self, requests: list[TokenRequest]) -> Sequence[Tensors]:
        """See `_ServedModel.answer`."""
        manifest = self.model.manifest
        name = manifest.outputs[0]
        return [{name: output} for output in run_together(requests, self.model.runner, manifest)]


class TextModel(_ServedModel[TextRequest]):
    """The model ``<name>_text``: texts to vectors or logits.

    It has an engine of its own or calls the token model, depending on its configuration.
    """

    def open(self, directory: Path, served: ServedModel) -> Model:
        """See `_ServedModel.open`."""
        token_model = served.parameters.get(TOKEN_MODEL)
        if token_model is None:
            return _load(directory, served)
        artifact = Artifact.open(directory)
        manifest = artifact.manifest
        return open_model(
            manifest,
            served.variant(manifest),
            tokenizer=artifact.file(manifest.tokenizer.file),
            engine=BackendEngine(token_model, served, output=manifest.outputs[0]),
        )

    def read(self, request: Any) -> TextRequest:
        """See `_ServedModel.read`."""
        texts, pairs, names = (_input(request, name) for name in (TEXT, TEXT_PAIR, PROMPT_NAME))
        return TextRequest.of(texts, pairs, self.model.manifest, names)

    def answer(self, requests: list[TextRequest]) -> Sequence[Tensors]:
        """See `_ServedModel.answer`."""
        return answer_texts(requests, self.model)


def _require_numpy() -> None:
    """Check that the backend was built for this numpy: otherwise tensors would be wrong.

    With Triton 2.51 and numpy 2, every element of an input is the first one, and outputs are empty.
    """
    if np.__version__.startswith("1."):
        return
    sent = np.arange(3, dtype=np.int64)
    received = pb_utils.Tensor.from_dlpack("numbers", sent).as_numpy()
    if not np.array_equal(sent, received):
        msg = (
            f"the Python backend of this Triton was built for numpy 1, and finds numpy "
            f"{np.__version__}: install numpy below 2 into its Python, start it with 'lanner "
            "serve', which finds one beside it, or take a newer Triton"
        )
        raise pb_utils.TritonModelException(msg)


def _load(directory: Path, served: ServedModel) -> Model:
    cores = available_cores()
    threads = served.threads(cores)
    variant = Artifact.open(directory).manifest.variants[0].name
    # Only explicit settings take the GPU: the instances of a server share it with others.
    model: Model = load(
        directory,
        engine=served.parameters.get(ENGINE, "auto"),
        variant=variant,
        device=served.parameters.get(DEVICE, "cpu"),
        threads=threads,
        workers=served.count("workers"),
        token_budget=served.count("token_budget"),
    )
    if threads * served.instances > cores:
        pb_utils.Logger.log_warn(
            f"{served.name} runs {served.instances * threads} threads of {served.instances} "
            f"instances on {cores} cores, where they wait for each other: give it fewer in "
            "instance_group"
        )
    of = f"each of {served.instances} instances" if served.instances > 1 else "its instance"
    pb_utils.Logger.log_info(
        f"{served.name} version {served.version} runs {variant} in {model.runner.engine.name}, "
        f"{of} on {threads} of {cores} cores"
    )
    return model


def _input(request: Any, name: str) -> NDArray[Any] | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _response(result: Tensors | BaseException) -> Any:
    if isinstance(result, BaseException):
        error = pb_utils.TritonError(str(result), _code(result))
        return pb_utils.InferenceResponse(output_tensors=[], error=error)
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in result.items()]
    )


def _code(error: BaseException) -> Any:
    if isinstance(error, InputError):
        return pb_utils.TritonError.INVALID_ARG
    if isinstance(error, (Overloaded, DeadlineError)):
        return pb_utils.TritonError.UNAVAILABLE
    return pb_utils.TritonError.INTERNAL
