"""The description of a served model, kept in its configuration's parameters.

A client fetches the configuration through Triton's own API and needs nothing else: the parameters
hold the manifest and the tokenizer of every version.
"""

import base64
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lanner.artifact.artifact import Artifact
from lanner.artifact.buckets import parse_buckets
from lanner.artifact.fields import is_file_name
from lanner.artifact.manifest import MANIFEST_FILE, Manifest, Variant
from lanner.errors import ArtifactError, ServerError
from lanner.files.staging import temporary_place
from lanner.triton.contract.tensors import BUCKETS, INPUT_KIND, TEXT_KIND, THREADS, VARIANT

_PREFIX = "lanner_file"
#: What all carried files may have together: ten times the largest tokenizers.
_MOST_BYTES = 2**28


def carried_files(artifact: Artifact, version: int, *, is_text: bool = False) -> dict[str, str]:
    """Return the parameters with the files that a client needs of a version.

    Args:
        artifact: The version's directory.
        version: The version's number.
        is_text: True if the server tokenises and the client need not.
    """
    manifest = artifact.manifest
    names = [] if is_text else [manifest.tokenizer.file]
    if manifest.query_weights is not None and not is_text:
        names.append(manifest.query_weights)
    if manifest.embedding_ranges is not None:
        names.append(manifest.embedding_ranges.file)
    # One way of several has a manifest of its own, which may be in no file.
    own = (artifact.directory / MANIFEST_FILE).read_bytes()
    contents = {MANIFEST_FILE: own if manifest.task is None else manifest.to_bytes()}
    contents |= {name: artifact.file(name).read_bytes() for name in names}
    return {f"{_PREFIX}.{version}.{name}": _packed(raw) for name, raw in contents.items()}


def foreign_carried_files(
    parameters: Mapping[str, str], artifact: Artifact, version: int, *, is_text: bool = False
) -> dict[str, str]:
    """Return the files of a version that its configuration lacks, or of which it has others.

    Args:
        parameters: The parameters of the configuration.
        artifact: The version's directory.
        version: The version's number.
        is_text: True if the server tokenises and the client need not.

    Returns:
        The names of the files, by their parameters.
    """
    right = carried_files(artifact, version, is_text=is_text)
    return {
        key: key.removeprefix(f"{_PREFIX}.{version}.")
        for key, packed in right.items()
        if not _holds_the_same(parameters.get(key, ""), packed)
    }


def _holds_the_same(carried: str, packed: str) -> bool:
    if carried == packed:
        return True
    try:  # versions of zlib pack the same bytes differently
        return _unpacked(carried, _MOST_BYTES) == _unpacked(packed, _MOST_BYTES)
    except (ValueError, zlib.error):
        return False


@dataclass(frozen=True)
class ServedModel:
    """A version of a model, by the description of its server.

    Attributes:
        name: The model's name on the server.
        version: The version's number.
        parameters: The parameters of the configuration.
        max_batch_size: The most texts in a request; 0 if the model does not batch.
        inputs: The names of the inputs.
        instances: The number of instances.
    """

    name: str
    version: str
    parameters: Mapping[str, str]
    max_batch_size: int
    instances: int = 1
    inputs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, version: str, config: Mapping[str, Any]) -> Self:
        """Read a configuration, as Triton's JSON form of it has it.

        Raises:
            ServerError: It is none.
        """
        try:
            parameters = {
                str(key): str(value.get("string_value", ""))
                for key, value in config.get("parameters", {}).items()
            }
            groups = config.get("instance_group", [])
            instances = sum(int(group.get("count", 1)) for group in groups)
            return cls(
                name,
                version,
                parameters,
                max_batch_size=max(0, int(config.get("max_batch_size", 0))),
                instances=max(1, instances),
                inputs=frozenset(str(tensor["name"]) for tensor in config.get("input", [])),
            )
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            msg = (
                f"the server describes the model {name} as Triton does not ({error}): see what "
                "answers there, a proxy perhaps"
            )
            raise ServerError(msg) from None

    @property
    def takes_texts(self) -> bool:
        """True if the server tokenises."""
        return self.parameters.get(INPUT_KIND) == TEXT_KIND

    @property
    def buckets(self) -> tuple[int, ...]:
        """Return the lengths that requests are padded to; empty if any length will do."""
        return parse_buckets(self.parameters.get(BUCKETS, ""))

    def threads(self, cores: int) -> int:
        """Return the cores of one instance: by the configuration, or an equal share of all.

        Args:
            cores: Cores that the server may use; each instance has at least one.
        """
        return self.count(THREADS) or max(1, cores // self.instances)

    def count(self, parameter: str) -> int | None:
        """Return the value of a numeric parameter, or None if it is not set.

        Raises:
            ServerError: The value is not a number, or less than 1.
        """
        value = self.parameters.get(parameter)
        if value is None:
            return None
        if not value.isdecimal() or len(value) > 9 or int(value) < 1:
            msg = (
                f"the parameter {parameter} in the config.pbtxt of {self.name} must be an "
                f"integer of at least 1, not {value[:100]!r}"
            )
            raise ServerError(msg)
        return int(value)

    def variant(self, manifest: Manifest) -> Variant:
        """Return the variant that runs, if the client's manifest lists it."""
        name = self.parameters.get(VARIANT, "")  # that of the newest version
        unknown = Variant(
            name=name, precision=name, file="", engine="triton", opset=0, fused_ops={}
        )
        alone = manifest.variants[0] if len(manifest.variants) == 1 else unknown
        return manifest.variant(name) or alone

    @contextmanager
    def artifact(self) -> Iterator[Artifact]:
        """Yield the carried files as an artifact without model files, within the block.

        Raises:
            ServerError: The model carries no files of this version.
            ArtifactError: The files cannot be used.
        """
        start = f"{_PREFIX}.{self.version}."
        files = {
            key.removeprefix(start): value
            for key, value in self.parameters.items()
            if key.startswith(start)
        }
        if MANIFEST_FILE not in files:
            msg = (
                f"the model {self.name} on the server carries no tokenizer of its version "
                f"{self.version}: make its repository with 'lanner repository', or pass artifact= "
                "with the artifact that it was made from"
            )
            raise ServerError(msg)
        with ExitStack() as held:
            yield Artifact.open(self._written(files, held))

    def _written(self, files: Mapping[str, str], held: ExitStack) -> Path:
        """The files in a directory that is there as long as the stack."""
        left = _MOST_BYTES
        contents = {}
        for name, content in files.items():
            if name != MANIFEST_FILE and not is_file_name(name):
                msg = f"the model {self.name} on the server carries a file {name[:100]!r}: leave it"
                raise ArtifactError(msg)
            contents[name] = self._unpacked(name, content, left)
            left -= len(contents[name])
        try:
            directory = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="lanner-")))
            for name, unpacked in contents.items():
                (directory / name).write_bytes(unpacked)
        except OSError as error:
            msg = (
                f"what the model {self.name} carries cannot be written to {temporary_place()} "
                f"({error.strerror}): make room there, or set TMPDIR to another directory"
            )
            raise ServerError(msg) from None
        return directory

    def _unpacked(self, name: str, content: str, most_bytes: int) -> bytes:
        try:
            return _unpacked(content, most_bytes)
        except (ValueError, zlib.error) as error:
            msg = (
                f"the {name} that the model {self.name} on the server carries is damaged "
                f"({error}): make its repository again with 'lanner repository'"
            )
            raise ArtifactError(msg) from None


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _unpacked(content: str, most_bytes: int) -> bytes:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(base64.b64decode(content, validate=True), max(1, most_bytes))
    if not unpacker.eof:
        problem = "is cut off, or too large"
        raise ValueError(problem)
    return unpacked
