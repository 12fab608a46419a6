import pickle

from lanner import errors


def test_the_public_names_are_these() -> None:
    names = [n for n, value in vars(errors).items() if isinstance(value, type)]
    assert names == [
        "LannerError",
        "UsageError",
        "InputError",
        "InputTypeError",
        "OutputError",
        "MissingExtraError",
        "UnsupportedError",
        "ArtifactError",
        "CorruptArtifactError",
        "FormatVersionError",
        "VariantError",
        "HeadError",
        "EngineError",
        "Overloaded",
        "DeadlineError",
        "CancelledError",
        "RepositoryError",
        "ServerError",
        "ServerUnavailableError",
        "ModelUnavailableError",
        "ModelChangedError",
        "BenchmarkError",
        "ExportError",
        "CheckpointError",
        "ParityError",
        "BudgetError",
        "OutputExistsError",
    ]


def test_every_error_is_a_lanner_error_with_a_docstring() -> None:
    for value in vars(errors).values():
        if isinstance(value, type):
            assert issubclass(value, errors.LannerError)
            assert value.__doc__


def test_callers_can_catch_the_builtin_kinds() -> None:
    assert issubclass(errors.InputTypeError, TypeError)
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.DeadlineError, TimeoutError)


def test_a_missing_extra_says_how_to_get_it() -> None:
    error = errors.MissingExtraError("lanner export", "export", "torch")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 (our own bytes)
    assert str(error) == (
        "lanner export needs the package 'torch', which is not installed: "
        "pip install 'lanner[export]'"
    )
    either = errors.MissingExtraError("a model", "onnxruntime", "onnxruntime", "openvino")
    assert str(pickle.loads(pickle.dumps(either))) == str(either)  # noqa: S301
    assert str(either) == (
        "a model needs the package 'onnxruntime' or 'openvino', and has neither: "
        "pip install 'lanner[onnxruntime]' or 'lanner[openvino]'"
    )
