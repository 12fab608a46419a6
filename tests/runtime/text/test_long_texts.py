"""Long texts have the tokens that the `tokenizers` library gives the whole of them."""

import random
import string
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.bounds import at_most_cpu_s
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Reference

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import DeadlineError, InputError
from lanner.text import long_texts
from lanner.text.long_texts import LongTexts, current_deadline_s, in_time
from lanner.text.splitting import Splitter
from lanner.text.tokenization import Tokenizer
from lanner.text.words import Vocabulary, WordTokenizer

LIMIT = 16
SENTENCE = "a man is playing the guitar while trains leave at seven o'clock in münchen 北京 ab abab"
WORDS = SENTENCE.split(" ")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def bert() -> Reference:
    tokenizer = Reference(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 (no password)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def roberta() -> Reference:
    tokenizer = Reference(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def xlm_roberta(split: bool = True) -> Reference:
    tokenizer = Reference(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    steps = [pre_tokenizers.Metaspace(split=split)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), *steps] if split else steps
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=110,
        special_tokens=SPECIAL,
        unk_token="[UNK]",  # noqa: S106 (no password)
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS), "aaa aaaa bbb"] * 3, trainer)
    return tokenizer


def one_word() -> Reference:
    """BPE over all of a text, which knows no words, as some of the newest have it."""
    tokenizer = Reference(models.BPE(unk_token="[UNK]"))  # noqa: S106 (no password)
    tokenizer.normalizer = normalizers.Replace(" ", "_")
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(WORDS * 3 + ["aaaa", "ab_ab"], trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Reference]] = {
    "bert": bert,
    "roberta": roberta,
    "xlm-roberta": xlm_roberta,
    "unigram of one word": lambda: xlm_roberta(split=False),
    "one word": one_word,
}


def texts() -> list[str]:
    rng = random.Random(19)  # noqa: S311 (the same each time)
    pieces: list[Callable[[], str]] = [
        lambda: rng.choice(WORDS),
        lambda: rng.choice(string.punctuation) * rng.randint(1, 30),
        lambda: rng.choice(" \t\n\u00a0") * rng.choice([1, 2, 900, 1_500]),
        lambda: rng.choice("abé中😀") * rng.choice([1, 50, 120, 999, 1_000, 1_001, 3_000]),
        lambda: "e\u0301" * rng.choice([1, 60, 700]),
        lambda: "a" + "\u0301" * rng.choice([1, 1_200]) + "bc",
        lambda: "".join(rng.choices(string.ascii_letters + "中,. ", k=200)),
    ]
    made = [character * 20_000 for character in ". a,中é😀"]
    made += ["a" * 4_999 + " man", "." * 9 + " " * 8_000 + "man is", "a\u0301" * 3_000 + " man is"]
    for _ in range(60):
        gap = rng.choice(["", " ", " "])
        made.append(gap.join(rng.choice(pieces)() for _ in range(rng.randint(5, 60))))
    return made


@pytest.fixture(params=KINDS)
def reference(request: pytest.FixtureRequest) -> Reference:
    return KINDS[request.param]()


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_same_tokens_as_the_whole(reference: Reference, side: str, tmp_path: Path) -> None:
    reference.enable_truncation(LIMIT, direction=side)
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", TokenizerRecord("x", LIMIT, 0))
    given = texts()
    assert sum(len(text) > 1_000 for text in given) > 40
    expected = [encoding.ids for encoding in reference.encode_batch(given)]
    for text, ids, found in zip(given, expected, tokenizer.encode(given), strict=True):
        assert found == ids, text[:80]
    for text, ids in list(zip(given, expected, strict=True))[:12]:
        assert tokenizer.encode([text]) == [ids]
    # A pair with one long text; and texts among pairs.
    pairs = [("a man", text) for text in given[:30]] + [(text, "is") for text in given[30:]]
    mixed: list[str | tuple[str, str]] = [*pairs, *given[:3]]
    wanted = [(one.ids, one.type_ids) for one in reference.encode_batch(mixed)]
    pairwise = tokenizer.encode_pairs(mixed, with_types=True)
    assert [(one.ids, one.type_ids) for one in pairwise] == wanted


def test_little_is_read_of_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = bert()
    tokenizer.enable_truncation(LIMIT)
    split = Splitter(tokenizer)
    long = LongTexts(tokenizer, LIMIT, cuts_left=False, split=split)
    read: list[int] = []

    def counting(some: list[str]) -> object:
        read.extend(map(len, some))
        return split(some)

    monkeypatch.setattr(long, "_split", counting)
    for text in ("." * 10**6, "a man is " * 10**5, "a" * 10**6, " " * 10**6, "e\u0301😀" * 10**5):
        read.clear()
        first = tokenizer.encode_batch([long.first_piece(text)])[0]
        long.settled(text, first)
        # Of one word that is unknown, or none, all is looked at, and little of it split.
        assert sum(read) < 150_000


def test_other_threads_go_on(tmp_path: Path) -> None:
    bert().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", TokenizerRecord("x", None, 0))
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.005):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    tokenizer.encode(["abcd " * 100_000])  # without a limit all of it is read
    done.set()
    thread.join()
    assert ticks > 5


def test_a_deadline_counts_while_a_text_is_split(tmp_path: Path) -> None:
    bert().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", TokenizerRecord("x", LIMIT, 0))
    before = current_deadline_s.set(time.monotonic() - 1)
    try:
        assert len(tokenizer.encode(["." * 10**6])[0]) == LIMIT  # settled at once
        with pytest.raises(DeadlineError, match=r"^the deadline passed while a long"):
            tokenizer.encode(["a" * 10**6])
    finally:
        current_deadline_s.reset(before)


def test_what_is_not_read_must_be_a_text_too(tmp_path: Path) -> None:
    bert().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", TokenizerRecord("x", LIMIT, 0))
    with pytest.raises(InputError, match=r"^the text at index 1 is not valid Unicode \(a lone"):
        tokenizer.encode(["a", "." * 10**5 + "\ud800"])
    with pytest.raises(InputError, match=r"^the text at index 1 is not valid Unicode \(a lone"):
        tokenizer.encode_pairs(["a", ("b", "." * 10**5 + "\ud800")])


def test_words_are_read_up_to_the_limit(tmp_path: Path) -> None:
    Vocabulary(["a", "man"], do_lower_case=True).write(tmp_path / "words.json")
    tokenizer = WordTokenizer(tmp_path / "words.json", 3)
    with at_most_cpu_s(1):
        assert tokenizer.encode(["A  man\u2003a man " * 10**6]) == [[0, 1, 0]]


def test_what_takes_too_long_is_left_to_itself() -> None:
    is_over = threading.Event()
    try:
        with pytest.raises(
            DeadlineError, match=r"^the deadline passed while a long text was split"
        ):
            in_time(lambda: is_over.wait(60), time.monotonic() + 0.05)
    finally:
        is_over.set()
    own = threading.current_thread()
    assert in_time(threading.current_thread, None) is own
    assert in_time(threading.current_thread, time.monotonic() + 60) is not own
    with pytest.raises(ZeroDivisionError, match=r"by zero$"):
        in_time(lambda: 1 // 0, time.monotonic() + 60)


def test_without_threads_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert in_time(threading.current_thread, time.monotonic() + 60) is threading.current_thread()


def test_windows_of_long_texts_keep_the_deadline(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = word_artifact / "tokenizer.json"
    tokenizer = Tokenizer(path, TokenizerRecord(path.name, max_tokens=4, pad_token_id=0))
    is_over = threading.Event()
    monkeypatch.setattr(tokenizer, "whole", lambda *_, **__: is_over.wait(60) and [])
    try:
        with pytest.raises(
            DeadlineError, match=r"^the deadline passed while a long text was split"
        ):
            tokenizer.windows(["a " * 60_000], deadline_s=time.monotonic() + 0.05)
    finally:
        is_over.set()


def test_the_first_long_text_waits_for_no_table() -> None:
    long_texts._runs.cache_clear()
    begin = time.thread_time()
    runs = long_texts._runs()
    assert time.thread_time() - begin < 0.3  # all of Unicode takes more than a second
    word = "aZ0tq7e\u0301\U0001f600\uac00\u0416" * 100
    assert [bool(run.fullmatch(word)) for run, _ in runs] == [False, False, True, False]
    assert not any(
        run.search("中" * 2_000 + "a.$" * 2_000 + "\U00020000" * 2_000) for run, _ in runs
    )
