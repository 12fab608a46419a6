"""Count the parts of gRPC messages before the messages are parsed.

An empty part takes two bytes in a message but a hundred in memory: 256 MB of them would become ten
gigabytes.
"""

from collections.abc import Callable
from typing import Any

#: Messages below this size are small in memory too, however many parts they have.
_SMALL_BYTES = 2**16
#: The most parts of a message, nested ones included; an answer has about ten per tensor.
_MOST_PARTS = 2**17
#: Numbers of variable length take up to eight bytes for each of theirs.
_BYTES_PER_PART = 16


class CountedChannel:
    """A gRPC channel that counts the parts of each answer before it is parsed.

    Args:
        channel: The channel.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_unary(
        self, method: str, *, response_deserializer: Callable[[bytes], Any], **options: Any
    ) -> Any:
        """Return the function that calls a method; see `grpc.Channel.unary_unary`."""
        descriptor = getattr(response_deserializer, "__self__", None)

        def read(data: bytes) -> Any:
            if len(data) > _SMALL_BYTES and descriptor is not None:
                require_few_parts(data, descriptor.DESCRIPTOR)
            return response_deserializer(data)

        return self._channel.unary_unary(method, response_deserializer=read, **options)


def require_few_parts(data: bytes, descriptor: Any) -> None:
    """Check that a message has no more parts than an answer can have.

    Args:
        data: The message.
        descriptor: The descriptor of its type, as `Message.DESCRIPTOR`.

    Raises:
        ValueError: The message has more parts, or is damaged.
    """
    left = _MOST_PARTS
    places = [(0, len(data), descriptor)]
    while places:
        place, end, kind = places.pop()
        while place < end:
            tag, place = _varint(data, place)
            field = kind.fields_by_number.get(tag >> 3)
            left -= 1
            if tag & 7 == 0:
                _, place = _varint(data, place)
            elif tag & 7 == 2:
                size, place = _varint(data, place)
                if field is not None and field.message_type is not None:
                    places.append((place, min(place + size, end), field.message_type))
                elif field is not None and field.type not in (field.TYPE_BYTES, field.TYPE_STRING):
                    left -= size // _BYTES_PER_PART
                place += size
            elif tag & 7 in (1, 5):
                place += 8 if tag & 7 == 1 else 4
            else:
                msg = "a message of gRPC with groups"
                raise ValueError(msg)
            if left < 0:
                msg = f"a message of more than {_MOST_PARTS:,} parts"
                raise ValueError(msg)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64 and place < len(data):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    msg = "a message of gRPC that ends within a number"
    raise ValueError(msg)
