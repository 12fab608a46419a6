"""The head `tag`: the entities of a text, with character offsets."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lanner.artifact.activation import Scores, softmax
from lanner.artifact.manifest import Manifest
from lanner.errors import InputError, InputTypeError
from lanner.models.base import (
    ManyTexts,
    Model,
    Texts,
    deadline_after,
    finite_answers,
    require_batch_size,
)
from lanner.models.inputs import require_str, text_list
from lanner.running.runner import Runner, Sequences
from lanner.text.entities import (
    AGGREGATION_STRATEGIES,
    Entity,
    TokenScores,
    join_entities,
    parse_tags,
)
from lanner.text.tokenization import Pair, Tokenizer, check_texts
from lanner.text.windows import Window
from lanner.text.word_boundaries import Boundary, boundary_before, lacks_blanks

#: The most texts, and characters, that are read together: their logits, one row per token, are in
#: memory at once.
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 256, 1_000_000
_log = logging.getLogger("lanner")


class TaggingModel(Model):
    """A model that finds entities in texts."""

    _has_warned = False

    @overload
    def tag(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        aggregation_strategy: str = "simple",
        ignore_labels: str | Sequence[str] = ("O",),
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        timeout_ms: float | None = None,
    ) -> list[Entity]: ...

    @overload
    def tag(
        self,
        texts: ManyTexts,
        *,
        aggregation_strategy: str = "simple",
        ignore_labels: str | Sequence[str] = ("O",),
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        timeout_ms: float | None = None,
    ) -> list[list[Entity]]: ...

    def tag(
        self,
        texts: Texts,
        *,
        aggregation_strategy: str = "simple",
        ignore_labels: str | Sequence[str] = ("O",),
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        timeout_ms: float | None = None,
    ) -> list[Entity] | list[list[Entity]]:
        """Find the entities of texts; the arguments are those of transformers' pipeline.

        A text longer than the model's limit is read in overlapping windows. Each token takes its
        label from the window that shows most of its context.

        Args:
            texts: One text, or a sequence of them.
            aggregation_strategy: The way tokens become entities; see
                `lanner.text.entities.join_entities`.
            ignore_labels: Labels that are not entities.
            batch_size: The most windows in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            One list of `Entity` per text, in their order; for a single str one list.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: There is no such strategy, or a text is not valid Unicode.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        require_batch_size(batch_size)
        require_str(aggregation_strategy=aggregation_strategy)
        if aggregation_strategy not in AGGREGATION_STRATEGIES:
            msg = (
                f"there is no aggregation_strategy {aggregation_strategy!r}: "
                f"use {', '.join(AGGREGATION_STRATEGIES)}"
            )
            raise InputError(msg)
        single = isinstance(texts, str)
        listed = [texts] if isinstance(texts, str) else text_list(texts, "tag")
        check_texts(listed)
        tags = parse_tags(self.manifest.labels)
        given: object = ignore_labels  # from callers that no type checker has seen
        if not isinstance(given, Iterable):
            msg = f"ignore_labels must be labels, not {type(given).__name__}"
            raise InputTypeError(msg)
        ignored = (ignore_labels,) if isinstance(ignore_labels, str) else ignore_labels
        deadline_s = deadline_after(timeout_ms)
        found: list[list[Entity]] = []
        with tqdm(total=len(listed), unit="text", disable=not show_progress_bar) as progress:
            for some in _groups(listed):
                answers = self.token_scores(
                    some,
                    batch_size,
                    first=len(found),
                    deadline_s=deadline_s,
                    is_admitted=bool(found),
                )
                for text, tokens in zip(some, answers, strict=True):
                    if aggregation_strategy != "simple":
                        self._warn_of_words(text, tokens)
                    found.append(
                        join_entities(
                            text,
                            tokens,
                            tags,
                            strategy=aggregation_strategy,
                            ignored=ignored,
                        )
                    )
                progress.update(len(some))
        return found[0] if single else found

    def _warn_of_words(self, text: str, tokens: TokenScores) -> None:
        """Log once that a tokenizer has parts of words in a script without blanks.

        Where each character is a token, as BERT's tokenizer splits Chinese, each is a word.
        """
        if self._has_warned or not lacks_blanks(text):
            return
        if any(lacks_blanks(text[start:end]) for start, end in tokens.offsets):
            self._has_warned = True
            _log.warning(
                "%s cannot tell words in a script without blanks between them, such as Thai or "
                "Chinese: there every token counts as one, as with aggregation_strategy='simple'",
                self.manifest.name,
            )

    def token_scores(
        self, texts: Sequence[str], batch_size: int = 32, *, first: int = 0, **options: Any
    ) -> list[TokenScores]:
        """Return the probabilities of the labels of each token, before tokens are joined.

        Args:
            texts: The texts.
            batch_size: The most windows in one batch.
            first: The index of the first text, for messages.
            options: Those of `Runner.run`.
        """

        def answer(runner: Runner) -> list[TokenScores]:
            tokenizer = cast("Tokenizer", self.tokenizer)
            found = _window_logits(runner, tokenizer, texts, self.manifest, first, **options)
            return [
                join_windows(text, of_text, rows, tokenizer)
                for text, of_text, rows in zip(texts, *found, strict=True)
            ]

        options["max_sequences"] = batch_size
        return self.of_one_version(answer)

    def rows(self, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> Scores:
        """See `Model.rows`."""
        tokens = self.token_scores(cast("Sequence[str]", inputs), batch_size)
        return np.concatenate([of_text.scores for of_text in tokens])

    def window_logits(
        self, texts: Sequence[str], *, batch_size: int = 32, **options: Any
    ) -> tuple[list[list[Window]], list[list[Scores]]]:
        """Return the windows of each text, and their logits, float32 [tokens, labels].

        The options are those of `Runner.run`.
        """
        options["max_sequences"] = batch_size
        tokenizer = cast("Tokenizer", self.tokenizer)
        return _window_logits(self.runner, tokenizer, texts, self.manifest, **options)


def _window_logits(
    runner: Runner,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    manifest: Manifest,
    first: int = 0,
    **options: Any,
) -> tuple[list[list[Window]], list[list[Scores]]]:
    windows = tokenizer.windows(texts, deadline_s=options.get("deadline_s"), first=first)
    flat = [window.ids for of_text in windows for window in of_text]
    logits: list[Scores] = [np.empty((0, manifest.dimension), np.float32)] * len(flat)
    places = [text for text, of_text in enumerate(windows) for _ in of_text]
    with finite_answers(manifest.name, lambda row: first + places[row]):
        for rows, block in runner.run(Sequences(flat), **options):
            for row, of_window in zip(rows, block, strict=True):
                logits[row] = of_window[: len(flat[row])]
    answers = iter(logits)
    return windows, [[next(answers) for _ in of_text] for of_text in windows]


def _groups(texts: list[str]) -> Iterator[list[str]]:
    group: list[str] = []
    characters = 0
    for text in texts:
        if group and (len(group) == TEXTS_AT_ONCE or characters + len(text) > CHARACTERS_AT_ONCE):
            yield group
            group, characters = [], 0
        group.append(text)
        characters += len(text)
    if group:
        yield group


def join_windows(
    text: str, windows: list[Window], logits: list[Scores], tokenizer: Tokenizer
) -> TokenScores:
    """Return the tokens of a text, each with its scores from one of the windows.

    Args:
        text: The text.
        windows: The text's windows in the order of `Tokenizer.windows`, or the first few of them.
        logits: The logits of each window, float32 [tokens, labels].
        tokenizer: The tokenizer that made the windows.
    """
    if tokenizer.cuts_left:
        windows, logits = windows[::-1], logits[::-1]
    # The first half of an overlap is taken from the window before and the rest from the one after,
    # so that each token has most of its context around it.
    before = tokenizer.overlap_tokens // 2
    after = tokenizer.overlap_tokens - before
    parts: list[tuple[NDArray[np.int64], Scores, NDArray[np.bool_]]] = []
    for number, (window, of_window) in enumerate(zip(windows, logits, strict=True)):
        kept = np.flatnonzero(np.array(window.special_tokens_mask, dtype=np.int64) == 0)
        kept = kept[before if number else 0 :]
        if number < len(windows) - 1:
            kept = kept[: len(kept) - after]
        offsets = np.array(window.offsets, dtype=np.int64).reshape(-1, 2)[kept]
        continues = _continues(text, window, kept, offsets, tokenizer)
        parts.append((offsets, of_window[kept], continues))
    offsets, joined, continues = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return TokenScores(offsets, softmax(joined) if len(joined) else joined, continues)


def _continues(
    text: str,
    window: Window,
    kept: NDArray[np.int64],
    offsets: NDArray[np.int64],
    tokenizer: Tokenizer,
) -> NDArray[np.bool_]:
    """Tell which tokens continue a word, as transformers' pipeline does.

    If the tokenizer marks such tokens ("##ing"), the mark says it. Otherwise the characters do. In
    a script without blanks between words every token is a word.
    """
    mark, tokens = tokenizer.continuation_mark, window.tokens
    found = []
    for token, start in zip(kept, offsets[:, 0].tolist(), strict=True):
        boundary = boundary_before(text, start)
        is_marked = bool(mark) and tokens[token].startswith(mark)
        continues = is_marked if mark else boundary is Boundary.NONE
        found.append(continues and boundary is not Boundary.UNKNOWN)
    ids = np.array(window.ids, dtype=np.int64)[kept]
    is_known = ids != (-1 if tokenizer.unknown_token_id is None else tokenizer.unknown_token_id)
    known: NDArray[np.bool_] = np.array(found, dtype=bool) & is_known
    return known
