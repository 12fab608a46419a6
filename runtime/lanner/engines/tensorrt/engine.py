"""The engine TensorRT on an NVIDIA GPU, without any framework around it.

Each profile of the engine has a lane: a stream, buffers on both sides and contexts, used by one
batch at a time; lanes run in parallel. A shape that repeats is captured as a CUDA graph, copies
included, so that a single launch runs it. A graph holds the settings of its context, so each has a
context of its own; the contexts of a lane share a workspace
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "CUDA
Graphs").
"""

import logging
import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.engine_build import EngineBuild
from lanner.engines.tensorrt.cuda import DeviceMemory, Graph, PinnedArray, Stream, on_gpu
from lanner.engines.tensorrt.deserialized import Context, DeserializedEngine
from lanner.engines.tensorrt.library import tensorrt_version
from lanner.engines.tensorrt.profile_shapes import GRAPH_TOKENS, Placement, place
from lanner.errors import EngineError
from lanner.machine.gpu import require_gpu

#: The fixed cost of a run, in tokens. BERT-base in fp16 on an A100 takes 0.62 ms for 1 text of 128
#: tokens and 3.85 ms for 32 (NVIDIA's BERT demo, TensorRT 10.16): 0.8 us per token plus 0.5 ms, the
#: time of 640 tokens.
RUN_TOKENS = 640
#: Graphs of a lane; the least recently used one makes room. Batches of up to `GRAPH_TOKENS` have
#: about this many shapes in a profile of one length.
_MOST_GRAPHS = 16

_log = logging.getLogger("lanner")


class TensorRtEngine:
    """One engine on the first visible GPU, with a lane for each of its profiles.

    Args:
        path: The variant's model file.
        build: The record of the build.
        max_graphs: The most CUDA graphs of a lane; 0 for none.

    Raises:
        MissingExtraError: TensorRT or the bindings of CUDA are not installed.
        EngineError: There is no GPU, the engine was built for another GPU or version, or the GPU
            has too little memory.
    """

    name = "tensorrt"
    run_tokens = RUN_TOKENS

    def __init__(self, path: Path, build: EngineBuild, *, max_graphs: int = _MOST_GRAPHS) -> None:
        gpu = require_gpu("the tensorrt engine")
        refusal = build.refusal(
            gpu=gpu.name, compute_capability=gpu.compute_capability, tensorrt=tensorrt_version()
        )
        if refusal:
            msg = f"{path} does not run here: {refusal}; build it here with 'lanner build-engine'"
            raise EngineError(msg)
        self._pid = os.getpid()
        with on_gpu(), ExitStack() as stack:
            self._deserialized = DeserializedEngine(path, build)
            self._lanes = [
                Lane(self._deserialized, number, stack, max_graphs=max_graphs)
                for number in range(len(self._deserialized.profiles))
            ]
            # No batch runs any more by then; when the process ends, the driver frees everything.
            weakref.finalize(self, stack.pop_all().close).atexit = False

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Run one batch; see `lanner.engines.Engine.run`."""
        if os.getpid() != self._pid:
            msg = (
                "CUDA does not work in a forked process: load the model in the process that uses it"
            )
            raise EngineError(msg)
        shapes = {tensor.shape for tensor in inputs.values()}
        if inputs.keys() != self._deserialized.inputs.keys() or len(shapes) != 1:
            given = {name: tensor.shape for name, tensor in inputs.items()}
            taken = ", ".join(sorted(self._deserialized.inputs))
            msg = f"TensorRT could not run the batch: it takes {taken} of one shape, not {given}"
            raise EngineError(msg)
        rows, length = shapes.pop()
        answers, start = [], 0
        with on_gpu():
            for part in place(self._deserialized.profiles, rows, length):
                of_part = {name: t[start : start + part.rows] for name, t in inputs.items()}
                answers.append(self._lanes[part.profile].run(of_part, part))
                start += part.rows
        return answers[0] if len(answers) == 1 else np.concatenate(answers)


class Lane:
    """One profile, used by one batch at a time. Any thread may call it; the others wait.

    Args:
        engine: The engine.
        number: The number of the profile.
        stack: The stack that frees the lane's resources.
        max_graphs: The most CUDA graphs.

    Raises:
        EngineError: The GPU has too little memory.
    """

    def __init__(
        self, engine: DeserializedEngine, number: int, stack: ExitStack, *, max_graphs: int
    ) -> None:
        self._deserialized, self._number, self._max_graphs = engine, number, max_graphs
        self._lock = threading.Lock()
        self._stream = stack.enter_context(Stream())
        count = math.prod(engine.profiles[number].largest)
        purpose = f"profile {number} of the engine"
        # If one allocation fails, the stack still frees those before it.
        self._workspace = stack.enter_context(
            closing(DeviceMemory(engine.workspace_bytes(number), purpose))
        )
        self._given = {
            name: stack.enter_context(closing(PinnedArray(count, dtype)))
            for name, dtype in engine.inputs.items()
        }
        self._inputs = {
            name: stack.enter_context(closing(DeviceMemory(given.array.nbytes, purpose)))
            for name, given in self._given.items()
        }
        self._context = engine.context(number, workspace=self._workspace, stream=self._stream)
        answered = self._context.reshape(engine.profiles[number].largest)
        self._answered = stack.enter_context(closing(PinnedArray(math.prod(answered), np.float32)))
        self._output = stack.enter_context(
            closing(DeviceMemory(self._answered.array.nbytes, purpose))
        )
        buffers = {**self._inputs, engine.output: self._output}
        self._addresses = {name: memory.address for name, memory in buffers.items()}
        self._context.bind(self._addresses)
        #: Graphs by shape, the most recently used last; None for a shape that came once.
        self._graphs: OrderedDict[tuple[int, int], tuple[Graph, Context] | None] = OrderedDict()
        stack.callback(self._drop_graphs)

    def run(
        self, inputs: Mapping[str, NDArray[np.int64]], placement: Placement
    ) -> NDArray[np.float32]:
        """Run rows, padded as the placement says.

        Args:
            inputs: int64 [rows, length].
            placement: A placement in this lane's profile.

        Returns:
            float32 [rows, ...], without the padding.

        Raises:
            EngineError: The GPU failed.
        """
        shape = placement.batch, placement.length
        length = next(iter(inputs.values())).shape[1]
        with self._lock:
            for name, tensor in inputs.items():
                _fill(self._given[name].shaped(*shape), tensor)
            try:
                answered = self._enqueue(shape)
            finally:
                self._stream.synchronize()  # also after an error: the buffers are reused
            output = self._answered.shaped(*answered)[: placement.rows]
            # An output per token has rows for the padding, too.
            return (output[:, :length] if output.ndim > 2 else output).copy()

    def _enqueue(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """Put the copies and the run on the stream; return the shape of the output."""
        if math.prod(shape) > GRAPH_TOKENS or not self._max_graphs:
            return self._put(self._context, shape)
        if shape not in self._graphs:
            self._remember(shape)
            return self._put(self._context, shape)
        self._graphs.move_to_end(shape)
        known = self._graphs[shape] or self._capture(shape)
        if known is None:
            return self._put(self._context, shape)
        self._graphs[shape] = known
        graph, context = known
        graph.launch(self._stream)
        return context.reshape(shape)

    def _put(self, context: Context, shape: tuple[int, int]) -> tuple[int, ...]:
        answered = context.reshape(shape)
        for name, memory in self._inputs.items():
            given = self._given[name]
            self._stream.copy_in(memory, given, math.prod(shape) * given.array.itemsize)
        context.enqueue(self._stream)
        size_bytes = math.prod(answered) * self._answered.array.itemsize
        self._stream.copy_out(self._answered, self._output, size_bytes)
        return answered

    def _capture(self, shape: tuple[int, int]) -> tuple[Graph, Context] | None:
        """Capture the graph of a shape; return None if CUDA cannot capture this engine."""
        try:
            context = self._deserialized.context(
                self._number, workspace=self._workspace, stream=self._stream
            )
            context.bind(self._addresses)
            # Run once before capturing: a context's first run does deferred set-up.
            self._put(context, shape)
            self._stream.synchronize()
            return self._stream.capture(lambda: self._put(context, shape)), context
        except EngineError as error:
            self._max_graphs = 0
            _log.warning("profile %d runs without CUDA graphs: %s", self._number, str(error))
            return None

    def _remember(self, shape: tuple[int, int]) -> None:
        self._graphs[shape] = None
        while len(self._graphs) > self._max_graphs:
            _, known = self._graphs.popitem(last=False)
            if known is not None:
                known[0].close()

    def _drop_graphs(self) -> None:
        while self._graphs:
            _, known = self._graphs.popitem()
            if known is not None:
                known[0].close()


def _fill(target: NDArray[np.int64], tensor: NDArray[np.int64]) -> None:
    """Copy [rows, length] into [batch, length or more]."""
    rows, length = tensor.shape
    target[:rows, :length] = tensor
    # The padding is zero in the attention mask as well, so it has no effect.
    target[:rows, length:] = 0
    # A padding row must not be fully masked: pooling would divide by zero.
    target[rows:] = target[0]
