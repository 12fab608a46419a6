"""The check that a report has the keys and types of `lanner_perf.record.schema`."""

from types import NoneType, UnionType
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict


def require_laid_out(value: Any, kind: Any, where: str = "report") -> None:
    """Check that a value has the keys and types of a type, with none missing and none added."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        assert set(value) <= set(hints), f"{where}: {set(value) - set(hints)}"
        for name, hint in hints.items():
            if name in value:
                require_laid_out(
                    value[name],
                    get_args(hint)[0] if get_origin(hint) is NotRequired else hint,
                    f"{where}.{name}",
                )
            else:
                assert get_origin(hint) is NotRequired, f"{where}: no {name}"
    elif origin in (dict, list):
        assert isinstance(value, origin), where
        for key, item in value.items() if origin is dict else enumerate(value):
            require_laid_out(item, arguments[-1], f"{where}.{key}")
    elif origin in (Union, UnionType):
        assert value is None or isinstance(value, arguments), where
        assert NoneType in arguments
    elif kind is not Any:
        # bool is an int for isinstance
        assert type(value) is kind, f"{where}: {value!r} is no {kind.__name__}"
