"""The search for products that stay in float32, on models in which int8 breaks known products."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import bert_model, plain_checkpoint
from tests.support.marks import slow

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import TokenizerRecord
from lanner.commands import main
from lanner.engines import open_engine
from lanner.errors import BudgetError, ParityError
from lanner.files.texts import shipped_sentences
from lanner.loading.load import open_model
from lanner.models.base import Model
from lanner.running.runner import Sequences, feed
from lanner.text.tokenization import Tokenizer

pytest.importorskip("torch", reason="needs the export extra")

from lanner.artifact.quality_budget import QualityBudget
from lanner_export.export import export
from lanner_export.precision.journal import Journal
from lanner_export.precision.quantization import products
from lanner_export.precision.ranges import measure_ranges
from lanner_export.precision.search import MOST_TRIALS, Search, groups
from lanner_export.precision.variants import Int8
from lanner_export.quality.measures import RememberedReference, measure_named
from lanner_export.quality.parity import answers
from lanner_export.texts.calibration import CalibrationTexts
from lanner_export.texts.quality_data import QualityData

pytestmark = pytest.mark.no_transformers  # the export begins with a graph

#: The products that `broken` breaks.
BROKEN = ["encoder.layer.0.output.dense", "encoder.layer.1.output.dense"]
LABELS = {
    "BertForSequenceClassification": dict(enumerate("xyz")),
    "BertForTokenClassification": dict(enumerate(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))),
}


def broken(kind: str) -> Any:
    """Return a BERT in which the last product of each layer reads one huge value.

    The weight of that value is equally small, so float32 answers as before.
    """
    import torch  # noqa: PLC0415

    names: Any = {"id2label": LABELS[kind]} if kind in LABELS else {}
    model = bert_model(kind=kind, **names)
    with torch.no_grad():
        for layer in getattr(model, "bert", model).encoder.layer:
            layer.intermediate.dense.weight[0] *= 3000
            layer.output.dense.weight[:, 0] /= 3000
    return model


@pytest.fixture(scope="module")
def broken_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Return the artifact of a transformers class, in fp32 only: its int8 would be refused."""
    made: dict[str, Artifact] = {}
    directory = tmp_path_factory.mktemp("broken")

    def of(kind: str) -> Artifact:
        if kind not in made:
            checkpoint = plain_checkpoint(directory / kind, broken(kind))
            made[kind] = export(checkpoint, directory / f"{kind}.lanner", precisions=["fp32"])
        return made[kind]

    return of


class Trials:
    """A search on an artifact's fp32 graph, and the trials that it loaded.

    Attributes:
        opened: The number of loaded trials.
        steps: The reported progress.
    """

    def __init__(self, artifact: Artifact, directory: Path, budget: str, **options: Any) -> None:
        self.artifact = artifact
        self.opened = 0
        self.steps: list[str] = []
        self.data: QualityData | None = options.pop("data", None)
        self.damage: Callable[[Path], None] = options.pop("damage", lambda path: None)
        source = directory / "model.fp32.onnx"
        source.write_bytes(artifact.file("model.fp32.onnx").read_bytes())
        self.int8 = int8_of(artifact, source)
        fp32 = self.load(source)
        # A checkpoint gives the answers of fp32, as parity has shown.
        reference = RememberedReference(lambda inputs: answers(fp32, inputs, batch_size=32))
        parsed = QualityBudget.parse(budget)
        self.search = Search(
            int8=self.int8,
            budget=parsed,
            measure=measure_named(parsed.measure, fp32, reference, self.data),
            fp32=fp32,
            open_trial=self.open,
            journal=Journal(directory / "journal.jsonl"),
            progress=self.steps.append,
            **options,
        )

    def load(self, path: Path) -> Model:
        manifest = self.artifact.manifest
        return open_model(
            manifest,
            manifest.variants[0],
            tokenizer=self.artifact.file(manifest.tokenizer.file),
            engine=open_engine("onnxruntime", path),
            workers=2,
            measures_overflow=True,
        )

    def open(self, path: Path) -> Model:
        self.opened += 1
        self.damage(path)
        return self.load(path)

    def measured(self, keep: list[str]) -> float:
        """Measure int8 with some products in float32."""
        path = self.int8.source.with_name("alone.onnx")
        self.int8.write(path, keep)
        return self.search.measure.of_model(self.load(path)).value


def int8_of(artifact: Artifact, source: Path) -> Int8:
    manifest = artifact.manifest
    record: TokenizerRecord = manifest.tokenizer
    tokenizer = Tokenizer(artifact.file(record.file), record)
    has_types = "token_type_ids" in manifest.inputs
    inputs = CalibrationTexts(shipped_sentences()[::8], "").inputs(manifest.head)
    sequences = Sequences.of(
        tokenizer.encode_pairs(inputs, with_types=has_types), with_types=has_types
    )
    feeds = [feed([(sequences, [row])], pad_token_id=0) for row in range(len(inputs))]
    found = products(source)
    activations = list(dict.fromkeys(product.activation for product in found))
    return Int8(source, found, measure_ranges(source, activations, feeds))


@pytest.fixture
def embed(broken_artifacts: Callable[[str], Artifact]) -> Artifact:
    return broken_artifacts("BertModel")


def test_products_of_one_activation_are_a_group(tiny_artifact: Artifact) -> None:
    found = groups(products(tiny_artifact.file("model.fp32.onnx")))
    layer = "encoder.layer.0"
    assert [group.names for group in found[:4]] == [
        tuple(f"{layer}.attention.self.{name}" for name in ("query", "key", "value")),
        (f"{layer}.attention.output.dense",),
        (f"{layer}.intermediate.dense",),
        (f"{layer}.output.dense",),
    ]
    assert [group.size for group in found[:4]] == [3 * 32 * 32, 32 * 32, 32 * 64, 64 * 32]
    assert len(found) == 8


def test_what_matters_stays_and_nothing_else(embed: Artifact, tmp_path: Path) -> None:
    trials = Trials(embed, tmp_path, "cosine:0.995")
    assert trials.measured([]) < 0.99
    assert trials.measured(BROKEN[:1]) < 0.995
    assert trials.measured(BROKEN[1:]) < 0.995
    assert trials.search.run() == BROKEN
    assert trials.measured(BROKEN) >= 0.995
    wholes = [step for step in trials.steps if "trial" in step]
    assert wholes[0] == (
        "int8 search: cosine with 0 of 12 products in float32 (trial 1 of at most 24)"
    )
    assert len(wholes) <= MOST_TRIALS
    losses = [step for step in trials.steps if "loses" in step]
    assert losses[-1].endswith("what encoder.layer.1.output.dense loses (8 of 8)")
    assert not (tmp_path / "trial.onnx").exists()


def test_trials_are_bounded(embed: Artifact, tmp_path: Path) -> None:
    trials = Trials(embed, tmp_path, "cosine:0.995", most_trials=3)
    kept = trials.search.run()
    # No group, all but one of the 8 groups, and half of them.
    assert len([step for step in trials.steps if "trial" in step]) == 3
    assert trials.opened == 3 + 8
    assert set(BROKEN) <= set(kept)
    assert trials.measured(kept) >= 0.995


def test_a_budget_that_is_met_at_once(tiny_artifact: Artifact, tmp_path: Path) -> None:
    trials = Trials(tiny_artifact, tmp_path, "cosine:0.5")
    assert trials.search.run() == []
    assert trials.opened == 1


def test_a_budget_that_cannot_be_met(tiny_artifact: Artifact, tmp_path: Path) -> None:
    trials = Trials(tiny_artifact, tmp_path, "rank_correlation:1")
    with pytest.raises(BudgetError) as caught:
        trials.search.run()
    # All but one group: with two in float32, only the word embeddings are int8.
    last = next(step for step in trials.steps if "trial 2" in step)
    number = int(last.split(" with ")[1].split()[0])
    rest = [
        (trials.measured([name for other in found if other is not group for name in other.names]))
        for found in [groups(trials.int8.products)]
        for group in found
        if 12 - len(group.names) == number
    ]
    assert str(caught.value) in {
        "int8 does not meet the budget, a rank correlation of similarities of at least 1 with the "
        f"checkpoint: the best it reached is rank_correlation {value:.5g}, with {number} of 12 "
        "products in float32; ask for less, give other --calibration texts, or export --precision "
        "fp32 alone. Nothing was written"
        for value in rest
    }
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl"] == []


def labelled(directory: Path, artifact: Artifact, trials: Trials) -> QualityData:
    """Return texts with the labels that fp32 gives them, so that fp32 is never wrong."""
    texts = shipped_sentences()[::3]
    path = directory / "labelled.jsonl"
    model: Any = trials.load(artifact.file("model.fp32.onnx"))
    if artifact.manifest.head == "classify":
        rows = [
            {"text": text, "label": found.label}
            for text, found in zip(texts, model.classify(texts), strict=True)
        ]
    else:
        rows = [
            {
                "text": text,
                "entities": [{"label": e.label, "start": e.start, "end": e.end} for e in entities],
            }
            for text, entities in zip(texts, model.tag(texts), strict=True)
        ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return QualityData.read(path)


@pytest.mark.parametrize(
    ("kind", "budget"),
    [
        *slow(
            ("BertForSequenceClassification", "agreement:0.99"),
            ("BertForSequenceClassification", "accuracy:10"),
        ),
        ("BertForTokenClassification", "agreement:0.97"),
        ("BertForTokenClassification", "f1:10"),
    ],
)
def test_labels(
    kind: str, budget: str, broken_artifacts: Callable[[str], Artifact], tmp_path: Path
) -> None:
    artifact = broken_artifacts(kind)
    trials = Trials(artifact, tmp_path, "agreement:0.5")
    if QualityBudget.parse(budget).needs_labels:
        data = labelled(tmp_path, artifact, trials)
        trials = Trials(artifact, tmp_path, budget, data=data)
        expected = 100 - trials.search.budget.bound
    else:
        trials = Trials(artifact, tmp_path, budget)
        expected = trials.search.budget.bound
    assert trials.measured([]) < expected
    kept = trials.search.run()
    assert set(kept) & {f"bert.{name}" for name in BROKEN}
    assert len(kept) < 12
    assert trials.measured(kept) >= expected


def test_scores(scorer_artifact: Artifact, tmp_path: Path) -> None:
    sentences = shipped_sentences()[:60]
    model: Any = Trials(scorer_artifact, tmp_path, "agreement:0.5").search.fp32
    pairs = list(zip(sentences[::2], sentences[1::2], strict=True))
    scores = np.asarray(model.score(pairs), np.float64)
    rows = [f'"{a}","{b}",{score:.9f}' for (a, b), score in zip(pairs, scores, strict=True)]
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\n" + "\n".join(rows))
    data = QualityData.read(tmp_path / "pairs.csv")
    without = Trials(scorer_artifact, tmp_path, "spearman:90", data=data).measured([])
    lost = (100 - without) / 2
    trials = Trials(scorer_artifact, tmp_path, f"spearman:{lost}", data=data)
    kept = trials.search.run()
    assert 0 < len(kept) < 12
    assert trials.measured(kept) >= 100 - lost


def test_what_is_not_a_number_loses_most(tiny_artifact: Artifact, tmp_path: Path) -> None:
    name = "encoder.layer.0.attention.output.dense"

    import onnx  # noqa: PLC0415

    def damage(path: Path) -> None:
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.name == f"{name}.weight_scales":
                scales = np.full(tensor.dims, np.nan, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(scales, tensor.name))
        onnx.save(model, path)

    trials = Trials(tiny_artifact, tmp_path, "cosine:0.9", damage=damage)
    assert trials.search.run() == [name]


def test_a_search_that_was_stopped_goes_on(embed: Artifact, tmp_path: Path) -> None:
    whole = Trials(embed, tmp_path, "cosine:0.995")
    expected = whole.search.run()
    whole.search.journal.remove()

    def stop(_: Path) -> None:
        if stopped.opened == 5:
            raise KeyboardInterrupt

    stopped = Trials(embed, tmp_path, "cosine:0.995", damage=stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.search.run()
    assert not (tmp_path / "trial.onnx").exists()
    journal = stopped.search.journal.path
    journal.write_bytes(journal.read_bytes()[:-10])  # 4 trials, the last of them half written
    again = Trials(embed, tmp_path, "cosine:0.995")
    assert again.search.run() == expected
    assert again.steps[0] == "int8 search: goes on with 3 trials of an earlier run"
    assert again.opened == whole.opened - 3
    # Another budget of the same measure uses the trials too; other labels or inputs use none.
    looser = Trials(embed, tmp_path, "cosine:0.5")
    assert looser.search.run() == []
    assert looser.opened == 0
    for options in ({"options": {"quality_data": "others"}}, {}):
        budget = "cosine:0.5" if options else "neighbours@10:0.1"
        other = Trials(embed, tmp_path, budget, **options)
        assert other.search.run() == []
        assert other.opened == 1


@pytest.mark.slow
def test_an_export_keeps_its_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = plain_checkpoint(tmp_path / "broken", broken("BertModel"))
    output = tmp_path / "made" / "b.lanner"
    calibration = tmp_path / "texts.txt"
    calibration.write_text("\n\n".join(shipped_sentences()[::8]))  # empty lines are skipped

    def stop(step: str) -> None:
        if "trial 4" in step:
            raise KeyboardInterrupt

    budget = QualityBudget.parse("cosine:0.995")
    with pytest.raises(KeyboardInterrupt):
        export(checkpoint, output, calibration=calibration, budget=budget, progress=stop)
    # The trials survive, even in a directory that was made for the output.
    assert [path.name for path in output.parent.iterdir()] == [".b.lanner.search.jsonl"]
    options = ["--calibration", str(calibration), "--precision", "int8"]
    # Another process traces the same graph, byte for byte.
    done = subprocess.run(
        [
            Path(sys.executable).with_name("lanner"),
            *["export", str(checkpoint), "--output", str(output), *options],
            *["--budget", "cosine:0.995"],
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "int8 search: goes on with 11 trials of an earlier run" in done.stderr
    assert [path.name for path in output.parent.iterdir()] == ["b.lanner"]
    artifact = Artifact.open(output)
    variant = artifact.manifest.variant("int8")
    assert variant is not None
    assert variant.float32_products == BROKEN
    assert (variant.products, variant.budget) == (12, "cosine:0.995")
    shown = f"{', '.join(BROKEN)} (2 of 12), for the budget cosine:0.995"
    assert f"| {shown} |" in artifact.file("README.md").read_text()
    assert main(["inspect", str(output)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"int8: products in float32: {shown}" in text
    count = variant.calibration["texts"]
    texts = f"{count} texts (texts.txt), mse"
    assert f"int8: calibrated on {texts}" in text
    with pytest.raises(BudgetError, match="int8 does not meet the budget, a mean cosine of at lea"):
        export(
            checkpoint,
            tmp_path / "none" / "c.lanner",
            precisions=["int8"],
            calibration=calibration,
            budget=QualityBudget.parse("cosine:1"),
        )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--budget", "nonsense"], 2, "the budget 'nonsense' is not MEASURE:BOUND with one of"),
        (["--budget", "spearman:0.3"], 2, "the budget spearman:0.3 is measured against labels: pa"),
        (["--budget", "agreement:0.9"], 1, "the budget agreement:0.9 does not fit this checkpoint"),
        (
            ["--budget", "cosine:0.9", "--precision", "fp32"],
            2,
            "the budget cosine:0.9 is for int8, which is not among fp32: add int8 to --precision",
        ),
        (["--quality-data", "two.csv"], 1, "two.csv"),
        (["--calibration", "empty.txt"], 1, "empty.txt holds no text"),
    ],
)
def test_wrong_usage(
    options: list[str],
    status: int,
    message: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "two.csv").write_text("sentence1,score\na,1\n")
    (tmp_path / "empty.txt").write_text("\n  \n\n")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    try:
        found = main(["export", str(tiny_checkpoint), "--output", "made/x.lanner", *options])
    except SystemExit as stop:  # argparse's own way out
        found = int(stop.code or 0)
    assert found == status
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


def test_static_vectors_have_no_products_to_keep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.vec").write_text("2 3\na 1 0 0\nb 0 1 0\n")
    output = tmp_path / "w.lanner"
    arguments = ["export", tmp_path / "words.vec", "--output", output, "--budget", "cosine:0.9"]
    assert main(list(map(str, arguments))) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(
        "words.vec holds static vectors, which have no products that could stay in float32 "
        "for the budget cosine:0.9: leave --budget out, and see the loss of int8 in the quality "
        "card"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["words.vec"]


@pytest.mark.slow
def test_int8_that_falls_short_is_made_again(tmp_path: Path) -> None:
    checkpoint = plain_checkpoint(tmp_path / "broken", broken("BertModel"))
    message = (
        r"^the int8 variant does not reproduce its checkpoint: smallest cosine 0\.\d+, allowed "
        r"0.9: products stay in float32 until the mean cosine is 0.98, as with --budget "
        r"cosine:0.98$"
    )
    said: list[str] = []
    artifact = export(checkpoint, tmp_path / "b.lanner", warn=said.append)
    assert [one for one in said if re.match(message, one)]
    variant = artifact.manifest.variant("int8")
    assert variant is not None
    assert variant.float32_products == BROKEN
    assert variant.budget == "cosine:0.98"


def test_int8_that_falls_short_of_what_was_asked_for_is_refused(tmp_path: Path) -> None:
    checkpoint = plain_checkpoint(tmp_path / "broken", broken("BertModel"))
    loose = QualityBudget.parse("cosine:0.01")
    with pytest.raises(ParityError, match=r"^the int8 variant .* --budget, .* Nothing was written"):
        export(checkpoint, tmp_path / "b.lanner", budget=loose)
    assert not (tmp_path / "b.lanner").exists()
