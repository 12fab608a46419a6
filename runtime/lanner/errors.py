"""Every error that Lanner raises on purpose.

    LannerError
    ├── UsageError              the call itself is wrong (command line: exit status 2)
    ├── InputError              a text or an array that was given cannot be used
    │   └── InputTypeError      ... because of its type (also a TypeError)
    ├── OutputError             an output cannot be written, or gone on with
    ├── MissingExtraError       an optional dependency is not installed
    ├── UnsupportedError        understood, and not something that Lanner does
    ├── ArtifactError           a directory is not a usable artifact
    │   ├── CorruptArtifactError    a file differs from what the manifest recorded
    │   └── FormatVersionError      written by a newer Lanner
    ├── VariantError            the variant or engine asked for is not there
    ├── HeadError               the artifact has another head than the call (also an AttributeError)
    ├── EngineError             an engine refused to load or run a variant
    ├── Overloaded              too many calls wait for the model already
    ├── DeadlineError           the time that was allowed is up (also a TimeoutError)
    ├── CancelledError          whoever called no longer waits for the answer
    ├── RepositoryError         a Triton model repository cannot be made, read or served
    ├── ServerError             a Triton server did not start, or answer, as it should
    │   ├── ServerUnavailableError  ... it cannot be reached, or is going away
    │   ├── ModelUnavailableError   ... it has no such model, or the model is not ready
    │   └── ModelChangedError       ... it runs another version by now
    ├── BenchmarkError          a benchmark could not run, or found what was not allowed
    └── ExportError             a checkpoint could not become an artifact
        ├── CheckpointError     ... because the checkpoint is missing or unreadable
        ├── ParityError         ... because the artifact does not answer as its checkpoint does
        ├── BudgetError         ... because int8 would lose more than its quality budget
        └── OutputExistsError   ... because the output directory is taken

Each message is one sentence or two that name the thing, the place and the remedy.
"""


class LannerError(Exception):
    """Base of every error that Lanner raises on purpose."""


class UsageError(LannerError):
    """The call itself is wrong: an argument has no meaning."""


class InputError(LannerError, ValueError):
    """A text or an array that was given cannot be used."""


class InputTypeError(InputError, TypeError):
    """A text or an array that was given has the wrong type."""


class OutputError(LannerError):
    """An output cannot be written, or what an earlier run left of it cannot be gone on with."""


class MissingExtraError(LannerError, ImportError):
    """An optional dependency is not installed.

    Args:
        what: What was asked for, for example ``"the onnxruntime engine"``.
        extra: The extra that brings it.
        module: The module that could not be imported.
        alternative: An extra that would do as well, of the same name as its module.
    """

    def __init__(self, what: str, extra: str, module: str, alternative: str = "") -> None:
        self._arguments = (what, extra, module, alternative)
        message = f"{what} needs the package {module!r}, which is not installed"
        if alternative:
            message = f"{what} needs the package {module!r} or {alternative!r}, and has neither"
        message += f": pip install 'lanner[{extra}]'"
        super().__init__(message + (f" or 'lanner[{alternative}]'" if alternative else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        # An exception is pickled by its message alone, which is not what it is made from.
        return type(self), self._arguments


class UnsupportedError(LannerError):
    """Understood, and not something that Lanner does."""


class ArtifactError(LannerError):
    """A directory is not a usable artifact."""


class CorruptArtifactError(ArtifactError):
    """A file of an artifact differs from what its manifest recorded."""


class FormatVersionError(ArtifactError):
    """The artifact was written by a newer Lanner than this one."""


class VariantError(LannerError):
    """The variant or engine that was asked for is not in the artifact."""


class HeadError(LannerError, AttributeError):
    """The artifact answers with another head than the one that was called."""


class EngineError(LannerError):
    """An engine refused to load or to run a variant."""


class Overloaded(LannerError):  # noqa: N818 (the name that servers of models give it)
    """Too many calls wait for the model already; nothing of this one was run."""


class DeadlineError(LannerError, TimeoutError):
    """The time that the caller allowed is up before the answer is there."""


class CancelledError(LannerError):
    """Whoever called no longer waits for the answer."""


class RepositoryError(LannerError):
    """A Triton model repository cannot be made, read or served."""


class ServerError(LannerError):
    """A Triton server is not there, or did not start or answer as it should."""


class ServerUnavailableError(ServerError):
    """The server cannot be reached, or is going away."""


class ModelUnavailableError(ServerError):
    """The server has no such model, or the model is not ready."""


class ModelChangedError(ServerError):
    """The server runs another version of the model than the one that was asked."""


class BenchmarkError(LannerError):
    """A benchmark could not run, or its result is worse than was allowed."""


class ExportError(LannerError):
    """A checkpoint could not become an artifact."""


class CheckpointError(ExportError):
    """The checkpoint is missing, incomplete or unreadable."""


class ParityError(ExportError):
    """The artifact does not answer as its checkpoint does."""


class BudgetError(ExportError):
    """int8 would lose more than the quality budget allows."""


class OutputExistsError(ExportError):
    """The output directory is taken."""
