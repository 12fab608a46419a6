"""One model of a Triton model repository, in the form that the linter's rules read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lanner.errors import RepositoryError
from lanner.triton.contract.model_config import CONFIG_FILE, parse_config
from lanner.triton.lint.field_lines import FieldLines
from lanner.triton.lint.finding import Finding, Rule

#: The file that each backend loads if the configuration names none (Triton's
#: model_repository.md), in the order in which Triton infers a backend from it.
MODEL_FILES = {
    "tensorrt": "model.plan",
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "pytorch": "model.pt",
    "python": "model.py",
}
_PLATFORMS = {
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
}

SYNTAX = Rule(
    "config-syntax",
    "error",
    "Triton reads config.pbtxt in the text format of its ModelConfig, and loads no model whose "
    "file it cannot parse (model_configuration.md)",
)


@dataclass(frozen=True)
class RepositoryModel:
    """A model with a readable configuration.

    Attributes:
        directory: The model's directory, which has the model's name.
        config: The `ModelConfig`.
        lines: The line numbers of the fields.
    """

    directory: Path
    config: Any
    lines: FieldLines

    @classmethod
    def read(cls, directory: Path) -> "RepositoryModel | Finding":
        """Read the configuration; return a finding if it cannot be read."""
        path = directory / CONFIG_FILE
        try:
            text = path.read_text(encoding="utf-8")
            return cls(directory, parse_config(text, path), FieldLines(text))
        except (OSError, UnicodeDecodeError) as error:
            problem, line = f"it cannot be read: {error}", 1
        except RepositoryError as error:
            problem = f"it is not a model configuration: {error.__cause__}"
            line = getattr(error.__cause__, "GetLine", lambda: None)() or 1
        remedy = "fix that line; the fields are those of Triton's model_config.proto"
        return SYNTAX.at(path, line, problem, remedy)

    @property
    def name(self) -> str:
        """Name of the model for clients."""
        return self.directory.name

    @property
    def is_ensemble(self) -> bool:
        """True if the model only passes tensors between other models."""
        config = self.config
        return bool(config.HasField("ensemble_scheduling") or config.platform == "ensemble")

    @cached_property
    def backend(self) -> str:
        """Return the backend, inferred like Triton does if it is not named; empty if none."""
        config = self.config
        if config.backend or self.is_ensemble:
            return str(config.backend)
        if config.platform:
            return _PLATFORMS.get(config.platform, "")
        named = config.default_model_filename
        for backend, file in MODEL_FILES.items():
            if named == file or (not named and any((v / file).exists() for v in self.versions)):
                return backend
        return self.name.partition(".")[2]

    @cached_property
    def versions(self) -> list[Path]:
        """Return the directories of the versions, the oldest first."""
        return version_directories(self.directory)

    @property
    def served_versions(self) -> list[Path]:
        """Return the versions that the policy serves; by default the latest."""
        policy = self.config.version_policy
        if policy.HasField("all"):
            return self.versions
        if policy.HasField("specific"):
            wanted = set(policy.specific.versions)
            return [path for path in self.versions if int(path.name) in wanted]
        return self.versions[-max(1, policy.latest.num_versions) :]

    @property
    def states_tensors(self) -> bool:
        """True if inputs and outputs are given, so that Triton completes nothing."""
        return bool(self.config.input) and bool(self.config.output)

    def parameter(self, key: str) -> str | None:
        """Return one of the `parameters`, or None."""
        parameters = self.config.parameters
        return str(parameters[key].string_value) if key in parameters else None

    def tensors(self) -> Iterator[tuple[str, Any]]:
        """Yield the inputs and outputs, each with its path in the configuration."""
        for kind in ("input", "output"):
            for index, tensor in enumerate(getattr(self.config, kind)):
                yield f"{kind}[{index}]", tensor

    def finding(self, rule: Rule, path: str, problem: str, remedy: str) -> Finding:
        """Return a finding of the rule at a field of the configuration."""
        file = self.directory / CONFIG_FILE
        return rule.at(file, self.lines.line(path), problem, remedy)


def version_directories(directory: Path) -> list[Path]:
    """Return the directories that Triton treats as versions of a model, the oldest first."""
    # "Subdirectories that are not numerically named, or have names that start with 0" are not.
    found = [path for path in directory.iterdir() if path.is_dir() and _is_version(path.name)]
    return sorted(found, key=lambda path: int(path.name))


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0")


def json_line(path: Path, key: str) -> int:
    """Return the line of a JSON file with the first occurrence of a key, or 1."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 1
    quoted = f"{json.dumps(key)}:"
    return next((number for number, line in enumerate(lines, 1) if quoted in line), 1)
