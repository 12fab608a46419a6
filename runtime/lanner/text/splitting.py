"""Splitting several texts at once: in the threads of the `tokenizers` library, or without them.

The library has one pool of threads in a process, with a thread for each core, which starts at the
first batch. A forked child does not have those threads, and would wait for them forever.
"""

import os
from collections.abc import Sequence

from tokenizers import Encoding
from tokenizers import Tokenizer as _Tokenizer

#: Splitting a single text stops all other threads: for 10 ms at this many characters. A batch does
#: not stop them.
CHARACTERS_HELD = 10_000


class _Pool:
    """The library's pool of threads.

    Attributes:
        pid: The process in which Lanner first used it; None before.
        is_broken: True if its threads could not be started, and never will be in this process.
    """

    pid: int | None = None
    is_broken = False

    @property
    def is_usable(self) -> bool:
        """True in a process that has the pool's threads or may start them."""
        return not self.is_broken and self.pid in (None, os.getpid())


_POOL = _Pool()


class Splitter:
    """Splits the texts of a batch. Any number of threads may use it.

    Args:
        tokenizer: The tokenizer.
        is_parallel: False for one core: texts are split one after the other.
    """

    def __init__(self, tokenizer: _Tokenizer, *, is_parallel: bool = True) -> None:
        self._tokenizer, self._is_parallel = tokenizer, is_parallel

    def of(self, tokenizer: _Tokenizer) -> "Splitter":
        """Return one for another tokenizer, on as many cores."""
        return Splitter(tokenizer, is_parallel=self._is_parallel)

    def __call__(
        self,
        inputs: Sequence[str | tuple[str, str]],
        *,
        is_fast: bool = False,
        add_special_tokens: bool = True,
    ) -> list[Encoding]:
        """Return the encoding of each text or pair.

        Args:
            inputs: The texts or pairs, all valid.
            is_fast: True to omit the offsets and, without a post-processor, the types.
            add_special_tokens: True for those that the model reads around a text.
        """
        if len(inputs) == 1 and _characters(inputs[0]) <= CHARACTERS_HELD:
            return [self._alone(inputs[0], add_special_tokens)]
        encode = self._tokenizer.encode_batch_fast if is_fast else self._tokenizer.encode_batch

        def one_by_one(some: Sequence[str | tuple[str, str]]) -> list[Encoding]:
            return [self._alone(item, add_special_tokens) for item in some]

        def together(some: Sequence[str | tuple[str, str]]) -> list[Encoding]:
            _POOL.pid = os.getpid()
            return encode(list(some), add_special_tokens=add_special_tokens)

        if not _POOL.is_usable:
            return one_by_one(inputs)
        try:
            if self._is_parallel and len(inputs) > 1:
                return together(inputs)
            found = []
            for item in inputs:
                is_short = _characters(item) <= CHARACTERS_HELD
                found += (one_by_one if is_short else together)([item])
        except BaseException as error:
            # The pool could not be started, and never will be in this process.
            if not is_of_library(error) or "thread pool" not in str(error):
                raise
            _POOL.is_broken = True
            return one_by_one(inputs)
        return found

    def _alone(self, item: str | tuple[str, str], add_special_tokens: bool) -> Encoding:
        """Return the encoding of one text or pair, on this core."""
        text, pair = (item, None) if isinstance(item, str) else item
        return self._tokenizer.encode(text, pair, add_special_tokens=add_special_tokens)


def switch_off_dropout(tokenizer: _Tokenizer) -> bool:
    """Switch off BPE-dropout, so that a tokenizer splits a text in the same way each time.

    BPE-dropout (arXiv:1910.13267) leaves out merges at random. It is meant for training, but the
    library applies it in each call.

    Returns:
        True if it was on.
    """
    if not getattr(tokenizer.model, "dropout", None):  # only BPE has it
        return False
    tokenizer.model.dropout = None
    return True


def is_of_library(error: BaseException) -> bool:
    """Return True if the `tokenizers` library raised an error; its panics are no `Exception`."""
    return type(error) is Exception or type(error).__name__ == "PanicException"


def _characters(item: str | tuple[str, str]) -> int:
    return len(item) if isinstance(item, str) else len(item[0]) + len(item[1])
