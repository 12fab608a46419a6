"""The Python backend, which runs Lanner itself."""

from pathlib import Path

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Variant
from lanner.engines import find_engine
from lanner.errors import UnsupportedError
from lanner.loading.selection import plans
from lanner.triton.contract.tensors import DEVICE, ENGINE, THREADS
from lanner.triton.repository.backend import Backend, Section, require_graph_for_device
from lanner.triton.repository.serving import Serving


class PythonBackend(Backend):
    """See `Backend`."""

    name = "python"
    batches = "Requests of unequal length run together: the model packs them itself."
    packs_requests = True

    def choose(self, artifact: Artifact, variant: str, serving: Serving) -> Variant:
        """See `Backend.choose`; on a GPU an engine comes before a graph."""
        if variant == "auto" and serving.is_on_gpu and (found := plans(artifact)):
            return found[0]
        return super().choose(artifact, variant, serving)

    def require_runs(self, variant: Variant, serving: Serving, directory: Path) -> None:
        """See `Backend.require_runs`."""
        if variant.engine == "tensorrt" and not serving.is_on_gpu:
            msg = (
                f"{directory} holds the variant {variant.name} for TensorRT, which needs a GPU: "
                "add --device cuda, or name another with --variant"
            )
            raise UnsupportedError(msg)
        require_graph_for_device(variant, serving, directory)
        engine = find_engine(serving.engine)
        if engine is not None and (reason := engine.why_not(variant, serving.device, directory)):
            msg = f"{reason}: name another --engine or --variant for {directory}"
            raise UnsupportedError(msg)

    def instances(self, serving: Serving, variant: Variant) -> Section:
        """See `Backend.instances`."""
        comment, fields = super().instances(serving, variant)
        if serving.is_on_gpu:
            # The engines use the first GPU, whichever GPU the instance is meant for.
            comment = "On the first GPU; a server with CUDA_VISIBLE_DEVICES set takes another."
            fields["instance_group"][0]["gpus"] = [0]
        return comment, fields

    def parameters(self, serving: Serving, variant: Variant) -> tuple[str, dict[str, str]]:
        """See `Backend.parameters`."""
        comment = (
            "engine: auto is the fastest that the server has; a named one is required.\n"
            "threads: the cores of one instance; without it, its share of those that the server\n"
            "may use."
        )
        parameters = {ENGINE: serving.engine}
        if serving.is_on_gpu:
            parameters[DEVICE] = serving.device
        if serving.threads is not None:
            parameters[THREADS] = str(serving.threads)
        return comment, parameters
