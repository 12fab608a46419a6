"""The part of a Triton model repository that depends on the backend."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest, Variant
from lanner.errors import UnsupportedError
from lanner.loading.selection import cuda_graphs
from lanner.triton.contract.onnxruntime_versions import is_int8
from lanner.triton.contract.tensors import BUCKETS
from lanner.triton.repository.serving import Serving

#: A section of a config.pbtxt: the comment above it and its fields.
Section = tuple[str, dict[str, Any]]


class Backend(ABC):
    """A backend of Triton; `lanner.triton.repository.backends` has a table of all.

    Attributes:
        name: The name in a config.pbtxt.
        file: The name of every version's model file, whatever the variant, since a configuration
            names one file for all versions; None if a configuration names none.
        batches: The comment on batches of unequal length.
        packs_requests: True if a model of this backend packs requests of unequal length itself.
    """

    name: str
    file: str | None = None
    batches = (
        "Only requests of equal length run together: fill them up to a length of\n"
        f"{BUCKETS} below, as Lanner's client and text model do."
    )
    packs_requests = False

    def choose(self, artifact: Artifact, variant: str, serving: Serving) -> Variant:
        """Choose the variant to serve; it need not run on the machine that writes the repository.

        Args:
            artifact: The artifact to serve.
            variant: The variant's name, for engines also the precision, or ``"auto"``.
            serving: The serving options.

        Raises:
            VariantError: There is no variant of that name.
        """
        if variant == "auto" and serving.is_on_gpu and (graphs := cuda_graphs(artifact)):
            safe = [graph for graph in graphs if artifact.is_batch_independent(graph.name)]
            return (safe or graphs)[0]
        return artifact.choose(variant)

    @abstractmethod
    def require_runs(self, variant: Variant, serving: Serving, directory: Path) -> None:
        """Check that the backend runs a variant.

        Args:
            variant: The variant.
            serving: The serving options.
            directory: The artifact's directory, for the message.

        Raises:
            UnsupportedError: It does not.
        """

    def fitted(self, serving: Serving, manifest: Manifest, variant: Variant) -> Serving:
        """Fit the serving options to a variant.

        Raises:
            UnsupportedError: The variant does not take every text.
            InputError: The variant takes no batch as large as the options say.
        """
        return serving

    def prepare(self, path: Path, serving: Serving) -> None:  # noqa: B027 (most need nothing)
        """Rewrite a copied model file in place, if the backend needs another."""

    def instances(self, serving: Serving, variant: Variant) -> Section:
        """Return the instances."""
        if serving.is_on_gpu:
            comment, kind = "An instance a GPU; a second one hides its transfers.", "KIND_GPU"
        else:
            comment = "Instances share the cores: count times threads must not exceed them (see "
            comment, kind = f"{comment}parameters).", "KIND_CPU"
        return comment, {"instance_group": [{"count": serving.instances, "kind": kind}]}

    def optimization(
        self,
        manifest: Manifest,
        variant: Variant,
        serving: Serving,
        buckets: tuple[int, ...],
    ) -> list[Section]:
        """Return the optimization, or nothing."""
        return []

    def notes(self, variant: Variant, serving: Serving) -> list[str]:
        """Return sentences on what a user must know of the variant in this backend."""
        return []

    @abstractmethod
    def parameters(self, serving: Serving, variant: Variant) -> tuple[str, dict[str, str]]:
        """Return the backend's own parameters, and the lines of a comment on them."""


def require_graph_for_device(variant: Variant, serving: Serving, directory: Path) -> None:
    """Check that a graph is not one for CPUs if it is served on a GPU.

    Raises:
        UnsupportedError: It is.
    """
    if serving.is_on_gpu and is_int8(variant.precision) and variant.engine != "tensorrt":
        msg = (
            f"the variant {variant.name} of {directory} is for CPUs: name another with "
            "--variant, or omit --device"
        )
        raise UnsupportedError(msg)


def require_one_file(backend: str, variant: Variant, directory: Path) -> None:
    """Check that the weights of a variant are in its model file.

    Raises:
        UnsupportedError: They are not.
    """
    if variant.weights_file is not None:
        msg = (
            f"{directory} has its weights in a separate file, which is untested with the backend "
            f"{backend}: use the backend python"
        )
        raise UnsupportedError(msg)
