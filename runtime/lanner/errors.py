"""Every error that Lanner raises on purpose.

    LannerError
    ├── UsageError              the call itself is wrong (command line: exit status 2)
    ├── InputError              a text or an array that was given cannot be used
    │   └── InputTypeError      ... because of its type (also a TypeError)
    ├── OutputError             an output cannot be written, or continued
    ├── MissingExtraError       an optional dependency is not installed
    ├── UnsupportedError        the request is valid, but Lanner does not support it
    ├── ArtifactError           a directory is not a usable artifact
    │   ├── CorruptArtifactError    a file differs from what the manifest recorded
    │   └── FormatVersionError      written by a newer Lanner
    ├── VariantError            the requested variant or engine does not exist
    ├── HeadError               the artifact has another head than the call (also an AttributeError)
    ├── EngineError             an engine refused to load or run a variant
    ├── Overloaded              too many calls wait for the model already
    ├── DeadlineError           the allowed time is up (also a TimeoutError)
    ├── CancelledError          the caller no longer waits for the answer
    ├── RepositoryError         a Triton model repository cannot be made, read or served
    ├── ServerError             a Triton server did not start, or did not answer properly
    │   ├── ServerUnavailableError  ... it cannot be reached, or is going away
    │   ├── ModelUnavailableError   ... it has no such model, or the model is not ready
    │   └── ModelChangedError       ... it runs another version by now
    ├── BenchmarkError          a benchmark could not run, or its result is not allowed
    └── ExportError             a checkpoint could not become an artifact
        ├── CheckpointError     ... because the checkpoint is missing or unreadable
        ├── ParityError         ... because the answers of the artifact differ from its checkpoint's
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
    """An output cannot be written, or an earlier run's partial output cannot be continued."""


class MissingExtraError(LannerError, ImportError):
    """An optional dependency is not installed.

    Args:
        what: The requested feature, for example ``"the onnxruntime engine"``.
        extra: The extra that installs it.
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
        # By default an exception is pickled with its message instead of these arguments.
        return type(self), self._arguments


class UnsupportedError(LannerError):
    """The request is valid, but Lanner does not support it."""


class ArtifactError(LannerError):
    """A directory is not a usable artifact."""


class CorruptArtifactError(ArtifactError):
    """A file of an artifact differs from what its manifest recorded."""


class FormatVersionError(ArtifactError):
    """The artifact was written by a newer Lanner than this one."""


class VariantError(LannerError):
    """The requested variant or engine does not exist."""


class HeadError(LannerError, AttributeError):
    """The artifact answers with another head than the one that was called."""


class EngineError(LannerError):
    """An engine refused to load or to run a variant."""


class Overloaded(LannerError):  # noqa: N818 (the name that servers of models give it)
    """Too many calls wait for the model already; this call did not run."""


class DeadlineError(LannerError, TimeoutError):
    """The time that the caller allowed is up before the answer."""


class CancelledError(LannerError):
    """The caller no longer waits for the answer."""


class RepositoryError(LannerError):
    """A Triton model repository cannot be made, read or served."""


class ServerError(LannerError):
    """A Triton server was not found, did not start, or did not answer properly."""


class ServerUnavailableError(ServerError):
    """The server cannot be reached, or is going away."""


class ModelUnavailableError(ServerError):
    """The server has no such model, or the model is not ready."""


class ModelChangedError(ServerError):
    """The server runs another version of the model than the requested one."""


class BenchmarkError(LannerError):
    """A benchmark could not run, or its result is worse than was allowed."""


class ExportError(LannerError):
    """A checkpoint could not become an artifact."""


class CheckpointError(ExportError):
    """The checkpoint is missing, incomplete or unreadable."""


class ParityError(ExportError):
    """The answers of the artifact differ from its checkpoint's."""


class BudgetError(ExportError):
    """int8 would lose more than the quality budget allows."""


class OutputExistsError(ExportError):
    """The output directory is taken."""
