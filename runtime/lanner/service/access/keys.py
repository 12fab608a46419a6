"""API keys of the service: a file of hashes, its changes, and the check of a request's headers.

A key is 256 random bits, so the file keeps a plain SHA-256 of each. A slow hash with a salt
protects secrets that people choose, because those can be guessed; nobody can guess 256 bits, and a
slow hash would hand every caller a way to use up the processor with wrong keys.
"""

import fcntl
import hmac
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from lanner.artifact.bounded import TooLargeError, parse_json, read_bounded
from lanner.errors import InputError
from lanner.files.staging import staged_file
from lanner.machine.file_state import file_state_if_any

#: The beginning of every key, by which scanners of secrets find keys in a repository or a log.
PREFIX = "lanner_"
#: The most keys in a file. The counters of `rates` have room for as many.
MOST_KEYS = 4096
_FORMAT = 1
_MOST_BYTES = 16 << 20
_RANDOM_BYTES = 32
#: The longest credentials that are checked; a key has 50 characters.
_MOST_CREDENTIAL_BYTES = 512
#: The headers that carry a key: of OpenAI's, TEI's and Cohere's clients, of proxies, of Azure's.
_HEADERS = (b"authorization", b"x-api-key", b"api-key")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPAN = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_SPAN_UNITS = {"d": "days", "h": "hours", "m": "minutes"}

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Key:
    """A caller of the service, as the file of keys has it. The key itself is nowhere.

    Attributes:
        name: The name for people and logs.
        sha256: The SHA-256 of the key, in hexadecimal digits.
        created: The time of its making, ISO 8601 in UTC.
        models: The names of the models that it may use, or None for all.
        requests_per_minute: The most requests a minute, or None for any number.
        tokens_per_minute: The most tokens a minute, or None for any number.
        concurrent: The most requests at once, or None for any number.
        expires: The time from which it is refused, ISO 8601 in UTC, or None for never.
        revoked: The time at which it was revoked, or None.
    """

    name: str
    sha256: str
    created: str
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    expires: str | None = None
    revoked: str | None = None

    def allows(self, model: str) -> bool:
        """Return whether the key may use a model of this name."""
        return self.models is None or model in self.models

    def is_valid(self, now_s: float) -> bool:
        """Return whether the key is neither revoked nor expired at this time since the epoch."""
        return self.revoked is None and (self.expires is None or now_s < _seconds(self.expires))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class KeyFile:
    """The keys of a file, read again whenever it changes.

    A file that is damaged or gone leaves the last good keys in force.

    Args:
        path: The file that `lanner keys` writes.
        tell: Takes a message when the file cannot be read again, once for each change.
        now: Returns the seconds since the epoch.

    Raises:
        InputError: The file cannot be read, or is not a file of keys.
    """

    def __init__(
        self,
        path: Path,
        tell: Callable[[str], object] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._tell, self._now = path, tell, now
        self._state = file_state_if_any(path)
        self._keys = _by_digest(read_keys(path))

    def check(self, headers: Headers) -> Key | None:
        """Return the key that a request carries, or None if it carries no valid one.

        A key is in ``Authorization: Bearer K``, ``Authorization: K``, ``x-api-key: K`` or
        ``api-key: K``. Two different keys in one request are none.

        Args:
            headers: Names in lower case and values.
        """
        self._reload()
        carried = _credentials(headers)
        token = carried.pop() if len(carried) == 1 else b""
        # A missing, malformed, wrong, revoked or expired key takes the same steps. The search
        # compares digests alone, whose bytes no caller can choose, so its time tells nothing.
        digest = sha256(token).digest()
        known, key = self._keys.get(digest, (bytes(len(digest)), None))
        if not hmac.compare_digest(known, digest) or key is None:
            return None
        return key if key.is_valid(self._now()) else None

    def expiries(self) -> dict[str, float]:
        """Return the times, in seconds since the epoch, at which valid keys expire, by name."""
        self._reload()
        now_s = self._now()
        return {
            key.name: _seconds(key.expires)
            for _, key in self._keys.values()
            if key.expires is not None and key.is_valid(now_s)
        }

    def _reload(self) -> None:
        state = file_state_if_any(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = _by_digest(read_keys(self._path))
        except InputError as error:
            self._tell(f"{error}; the keys that were read before stay in force")


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file, revoked and expired ones too, in the order of their making.

    Raises:
        InputError: The file cannot be read, everybody may write it, or it is not a file of keys.
    """
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            msg = f"every user of this machine can write the keys in {path}: chmod 600 {path}"
            raise InputError(msg)
        content = parse_json(read_bounded(path, _MOST_BYTES))
    except OSError as error:
        msg = (
            f"the keys in {path} cannot be read ({error.strerror or error}): see 'lanner keys add'"
        )
        raise InputError(msg) from None
    except (ValueError, TooLargeError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path} is not a file of keys ({error}): restore it, or add keys to a new one"
        raise InputError(msg) from None
    try:
        return _parsed(content)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"{path} is not a file of keys ({error}): restore it, or add keys to a new one"
        raise InputError(msg) from None


def add_key(
    path: Path,
    name: str,
    *,
    models: Sequence[str] | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrent: int | None = None,
    expires: str | None = None,
) -> tuple[str, Key]:
    """Make a key and write its hash into a file, which is made if it does not exist.

    Args:
        path: The file.
        name: The name for people and logs. That of a revoked key may be used again.
        models: See `Key`; likewise the following.
        requests_per_minute: See `Key`.
        tokens_per_minute: See `Key`.
        concurrent: See `Key`.
        expires: See `Key`; `expiry` makes it of what people write.

    Returns:
        The key, which cannot be had again, and its record.

    Raises:
        InputError: The name is taken or not usable, or the file cannot be read or written.
    """
    token = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    key = Key(
        name=name,
        sha256=sha256(token.encode()).hexdigest(),
        created=_now(),
        models=None if models is None else tuple(models),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent=concurrent,
        expires=expires,
    )
    if not _NAME.fullmatch(name):
        msg = (
            f"{name!r} cannot name a key: use up to 64 letters, digits, '.', '_' and '-', a letter "
            "or digit first"
        )
        raise InputError(msg)
    with _changing(path) as keys:
        if any(other.name == name and other.revoked is None for other in keys):
            msg = f"{path} has a key {name!r} already: revoke it first, or choose another name"
            raise InputError(msg)
        keys[:] = [other for other in keys if other.name != name] + [key]
        if len(keys) > MOST_KEYS:
            msg = f"{path} has {MOST_KEYS:,} keys already: start another file"
            raise InputError(msg)
    return token, key


def revoke_key(path: Path, name: str) -> Key:
    """Revoke the key of this name; its record stays, with the time.

    Raises:
        InputError: There is no such key, it is revoked already, or the file cannot be written.
    """
    if not path.exists():
        msg = f"there is no file {path}: name the file of keys with --file"
        raise InputError(msg)
    with _changing(path) as keys:
        for index, key in enumerate(keys):
            if key.name == name:
                if key.revoked is not None:
                    msg = f"the key {name!r} of {path} was revoked on {key.revoked} already"
                    raise InputError(msg)
                keys[index] = replace(key, revoked=_now())
                return keys[index]
        names = ", ".join(sorted(key.name for key in keys if key.revoked is None)) or "none"
        msg = f"{path} has no key {name!r}; its keys: {names}"
        raise InputError(msg)


def expiry(text: str) -> str:
    """Return the time that a person wrote, as `Key.expires` has it.

    Args:
        text: A span from now, such as ``90d``, ``12h`` or ``30m``, or a date or time in ISO 8601,
            in UTC unless it says otherwise.

    Raises:
        InputError: It is neither, or not in the future.
    """
    span = _SPAN.fullmatch(text)
    try:
        if span:
            moment = datetime.now(UTC) + timedelta(**{_SPAN_UNITS[span[2]]: int(span[1])})
        else:
            moment = _moment(text).astimezone(UTC)
    except (ValueError, OverflowError):
        msg = f"{text!r} is no time: write for example 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00"
        raise InputError(msg) from None
    if moment <= datetime.now(UTC):
        msg = f"{text!r} is in the past: a key expires in the future"
        raise InputError(msg)
    return _written(moment)


def _credentials(headers: Headers) -> set[bytes]:
    """Return the different keys that the headers carry."""
    found = set()
    for name, value in headers:
        if name not in _HEADERS:
            continue
        words = value.split(None, 2)
        if name == b"authorization" and len(words) == 2 and words[0].lower() == b"bearer":
            del words[0]
        # Other schemes have two words too: `Authorization: Basic ...` is for a proxy before us.
        if len(words) == 1 and len(words[0]) <= _MOST_CREDENTIAL_BYTES:
            found.add(words[0])
    return found


def _by_digest(keys: Iterable[Key]) -> dict[bytes, tuple[bytes, Key]]:
    found = ((bytes.fromhex(key.sha256), key) for key in keys)
    return {digest: (digest, key) for digest, key in found}


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """Yield the keys of a file, and write them if the block succeeds."""
    path = path.resolve()  # a link to the file stays a link
    try:
        # The file itself is replaced, so that the lock is that of its directory.
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        msg = f"the directory {path.parent} cannot be opened ({error.strerror}): make it first"
        raise InputError(msg) from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        before = path.stat() if path.exists() else None
        keys = [] if before is None else read_keys(path)
        yield keys
        content = {"format": _FORMAT, "keys": [key.to_json() for key in keys]}
        mode = 0o600 if before is None else stat.S_IMODE(before.st_mode) & 0o660
        with staged_file(path, mode=mode) as file:
            if before is not None and before.st_uid != os.geteuid():
                # The service must still be able to read what an administrator changed.
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(json.dumps(content, indent=1).encode() + b"\n")
    finally:
        os.close(directory)


def _parsed(content: Any) -> list[Key]:
    """Return the keys of the parsed file; ValueError, TypeError or KeyError if it is another."""
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        msg = f"its format is not {_FORMAT}"
        raise ValueError(msg)
    records = content["keys"]
    if not isinstance(records, list) or len(records) > MOST_KEYS:
        msg = f"'keys' is no list of at most {MOST_KEYS:,}"
        raise ValueError(msg)
    keys = [_key(record) for record in records]
    if len({key.name for key in keys}) < len(keys) or len({key.sha256 for key in keys}) < len(keys):
        msg = "two keys have one name or one hash"
        raise ValueError(msg)
    return keys


def _key(record: Any) -> Key:
    if not isinstance(record, Mapping) or not record.keys() <= {
        field.name for field in fields(Key)
    }:
        # An unknown field may be a limit, which must not be ignored.
        msg = "a key has other fields than Lanner writes"
        raise ValueError(msg)
    models = record.get("models")
    if models is not None and (
        not isinstance(models, list) or not all(isinstance(model, str) for model in models)
    ):
        msg = "'models' is no list of names"
        raise ValueError(msg)
    key = Key(**{**record, "models": None if models is None else tuple(models)})
    if not _NAME.fullmatch(key.name) or not re.fullmatch(r"[0-9a-f]{64}", key.sha256):
        msg = "a name or a hash is malformed"
        raise ValueError(msg)
    for name in ("requests_per_minute", "tokens_per_minute", "concurrent"):
        value = getattr(key, name)
        if value is not None and (type(value) is not int or value < 1):
            msg = f"{name!r} of {key.name} is no integer of at least 1"
            raise ValueError(msg)
    for moment in filter(None, (key.created, key.expires, key.revoked)):
        _seconds(moment)
    return key


def _seconds(moment: str) -> float:
    """Return seconds since the epoch."""
    return _moment(moment).timestamp()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def _now() -> str:
    return _written(datetime.now(UTC))


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
