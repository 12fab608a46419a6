"""System shared memory: tensors stay where the client wrote them, and a server beside it maps them.

The protocol: docs/protocol/extension_shared_memory.md of the Triton server. A region's name is gone
from the machine as soon as the server has mapped it, so a client that is killed leaves none behind.
"""

import mmap
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lanner.errors import LannerError, ServerError, ServerUnavailableError
from lanner.triton.carrier import Carrier

_DIRECTORY = Path("/dev/shm")  # noqa: S108 (where POSIX shared memory is on Linux)
_LEAST_BYTES = 1 << 16


class Registrar(Protocol):
    """A connection through which a server is told of regions."""

    def register_memory(self, name: str, key: str, size_bytes: int) -> None:
        """Has the server map a region.

        Raises:
            LannerError: See `lanner.triton.transport.server_error`.
        """

    def unregister_memory(self, name: str) -> None:
        """Has the server give a region up.

        Raises:
            LannerError: See `lanner.triton.transport.server_error`.
        """


class Region:
    """Memory of this process that a server can map.

    Args:
        size_bytes: Its size.

    Raises:
        ServerError: There is no room for it, or no shared memory here.
    """

    def __init__(self, size_bytes: int) -> None:
        self.name, self.size_bytes = f"lanner-client-{uuid.uuid4().hex}", size_bytes
        self._path = _DIRECTORY / self.name
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                # Where there is no room, writing would end the process.
                os.posix_fallocate(descriptor, 0, size_bytes)
                self.buffer = mmap.mmap(descriptor, size_bytes)
            except OSError:
                self.remove_name()
                raise
            finally:
                os.close(descriptor)
        except OSError as error:
            msg = (
                f"{size_bytes:,} bytes of shared memory are not to be had in {_DIRECTORY} "
                f"({error.strerror}): make room there, or connect without shared_memory"
            )
            raise ServerError(msg) from None

    def remove_name(self) -> None:
        """Nobody else can map it from now on; who has it mapped keeps it."""
        self._path.unlink(missing_ok=True)


class SharedMemory:
    """The regions that one client shares with one server; a request has one to itself.

    Args:
        url: The server's, for messages.
        registrar: A connection to it, of its own: it outlives this object by a message.
    """

    def __init__(self, url: str, registrar: Registrar) -> None:
        self._url, self._registrar = url, registrar
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._free: list[Region] = []
        self._names: set[str] = set()
        self._pid = os.getpid()
        # A server keeps what it has mapped for as long as it runs, unless it is told.
        self._finalizer = weakref.finalize(
            self, _unregister_all, self._registrar, self._names, self._pid
        )

    def close(self) -> None:
        """Tells the server that none is of use any longer."""
        self._free.clear()
        self._finalizer()

    def forget(self) -> None:
        """What the server knew is lost, because it began anew."""
        with self._lock:
            self._free.clear()
            self._names.clear()

    @contextmanager
    def carrier(
        self,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        output_bytes: int | None,
    ) -> Iterator[Carrier]:
        """What carries a request's tensors in a region, while the block runs.

        Args:
            inputs: See `lanner.triton.transport.Transport.infer`.
            outputs: The names of those that are wanted.
            output_bytes: The bytes of the only output; None where it is to come in the message.

        Raises:
            ServerError: The server cannot map memory of this machine.
        """
        contents = {name: _content(tensor) for name, tensor in inputs.items()}
        needed = sum(_padded(len(content)) for content in contents.values()) + (output_bytes or 0)
        region = self._take(needed)
        is_over = False
        try:
            yield _InRegion(region, inputs, contents, outputs, output_bytes)
            is_over = True
        except ServerUnavailableError:  # it may be there yet, and write into the region
            self.forget()
            raise
        except LannerError:
            is_over = True
            raise
        finally:
            with self._lock:
                if is_over and region.name in self._names:
                    self._free.append(region)

    def _take(self, needed_bytes: int) -> Region:
        with self._lock:
            if self._pid != os.getpid():  # the parent's, which writes into them
                self._finalizer.detach()
                self._begin()
            fitting = [region for region in self._free if region.size_bytes >= needed_bytes]
            if fitting:
                best = min(fitting, key=lambda region: region.size_bytes)
                self._free.remove(best)
                return best
            too_small = self._free.pop() if self._free else None
        if too_small is not None:
            self._drop(too_small)
        return self._make(max(_LEAST_BYTES, 1 << (needed_bytes - 1).bit_length()))

    def _make(self, size_bytes: int) -> Region:
        region = Region(size_bytes)
        try:
            self._registrar.register_memory(region.name, f"/{region.name}", size_bytes)
        except ServerUnavailableError:
            raise
        except LannerError as error:
            msg = (
                f"the server at {self._url} cannot map shared memory of this machine ({error}): "
                "connect without shared_memory, or run it here, with this /dev/shm and as this user"
            )
            raise ServerError(msg) from None
        finally:
            region.remove_name()
        with self._lock:
            self._names.add(region.name)
        return region

    def _drop(self, region: Region) -> None:
        with self._lock:
            self._names.discard(region.name)
        with suppress(LannerError):
            self._registrar.unregister_memory(region.name)


class _InRegion(Carrier):
    """The tensors of one request in a region: the inputs one after the other, then the output."""

    def __init__(
        self,
        region: Region,
        inputs: Mapping[str, NDArray[Any]],
        contents: Mapping[str, bytes],
        outputs: tuple[str, ...],
        output_bytes: int | None,
    ) -> None:
        super().__init__(inputs, outputs)
        self._region, self._output_bytes = region, output_bytes
        self._places: dict[str, tuple[int, int]] = {}
        start = 0
        for name, content in contents.items():
            region.buffer[start : start + len(content)] = content
            self._places[name] = (start, len(content))
            start += _padded(len(content))
        self._output_start = start

    def fill(self, name: str, tensor: Any) -> None:
        start, size = self._places[name]
        tensor.set_shared_memory(self._region.name, size, offset=start)

    def output_tensors(self, kind: Callable[..., Any]) -> list[Any]:
        tensors = super().output_tensors(kind)
        if self._output_bytes is not None:
            (tensor,) = tensors
            tensor.set_shared_memory(
                self._region.name, self._output_bytes, offset=self._output_start
            )
        return tensors

    def answer(self, result: Any, name: str) -> NDArray[Any] | None:
        output = result.get_output(name)
        if self._output_bytes is None or output is None:
            return super().answer(result, name)
        shape = output["shape"] if isinstance(output, dict) else output.shape
        found: NDArray[np.float32] = np.frombuffer(
            self._region.buffer, np.float32, int(np.prod(shape)), self._output_start
        )
        return found.reshape(shape).copy()


def _content(tensor: NDArray[Any]) -> bytes:
    if tensor.dtype == np.object_:
        from tritonclient.utils import serialize_byte_tensor  # noqa: PLC0415 (an extra)

        content: bytes = serialize_byte_tensor(tensor).item()
        return content
    return tensor.tobytes()


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // 64) * 64


def _unregister_all(registrar: Registrar, names: set[str], pid: int) -> None:
    if pid != os.getpid():
        return
    with suppress(LannerError):  # a server that is gone has nothing to give up
        while names:
            registrar.unregister_memory(names.pop())


def carrier(
    memory: SharedMemory | None,
    inputs: Mapping[str, NDArray[Any]],
    outputs: tuple[str, ...],
    *,
    output_bytes: int | None,
    timeout_s: float | None,
) -> AbstractContextManager[Carrier]:
    """What carries a request's tensors: a region of the memory, or without one the message.

    The output of a request that may be given up comes in the message: nobody would know when the
    server has written it.
    """
    if memory is None:
        return nullcontext(Carrier(inputs, outputs))
    return memory.carrier(inputs, outputs, output_bytes if timeout_s is None else None)
