"""The quality card: `quality.json` in words and tables.

Figures that an older Lanner did not measure are shown as "-", or left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lanner.artifact.manifest import FileRecord, Manifest, Variant

_UNKNOWN = "-"
_IN = " in "
#: Up to this many products are named; more are counted.
_MOST_PRODUCTS = 3
_TASK_TITLES = {"spearman": "Spearman x100", "accuracy": "accuracy %", "f1": "entity F1 x100"}


class _Column(NamedTuple):
    """A figure of a variant: its title, its key in `quality.json`, and its format."""

    title: str
    key: str
    form: str


_VECTOR_COLUMNS = (
    _Column("worst cosine", "cosine_min", ".4f"),
    _Column("batch independence", "batch_independence_cosine", ".6f"),
)
_LOGITS_COLUMNS = (
    _Column("mean score difference", "mean_score_difference", ".1e"),
    _Column("batch dependence", "batch_independence_difference", ".1e"),
)


class Section(NamedTuple):
    """A table with a title.

    Attributes:
        title: The measure and the data.
        rows: The names of the columns, then a row per variant.
    """

    title: str
    rows: list[tuple[str, ...]]


def calibration_sentence(variant: Variant) -> str:
    """Describe the calibration of a variant; empty if it has no ranges."""
    found = variant.calibration
    if not found:
        return ""
    method = f", {found['method']}" if "method" in found else ""
    return f"{found['texts']:,} texts ({found['data']}){method}"


def float32_sentence(variant: Variant) -> str:
    """Name the products of a quantized variant in float32, and the budget; empty if none."""
    names = variant.float32_products
    if not names and not variant.budget:
        return ""
    shown = ", ".join(names[:_MOST_PRODUCTS]) or "none"
    if len(names) > _MOST_PRODUCTS:
        shown += ", ..."
    if variant.products:
        shown += f" ({len(names)} of {variant.products})"
    return f"{shown}, for the budget {variant.budget}" if variant.budget else shown


def measured_label(variant: str, engine: str) -> str:
    """Return the name in `quality.json` of a variant in another engine than its own."""
    return f"{variant}{_IN}{engine}"


def variant_bytes(files: Mapping[str, FileRecord], variant: Variant) -> int:
    """Return the size of a variant's file, plus that of a separate file of weights."""
    return sum(files[name].bytes for name in variant.files)


@dataclass(frozen=True)
class QualityCard:
    """The measurements of an artifact.

    Attributes:
        manifest: The manifest.
        files: The files of the variants.
        quality: The content of `quality.json`.
    """

    manifest: Manifest
    files: Mapping[str, FileRecord]
    quality: Mapping[str, Any]

    def sections(self) -> list[Section]:
        """Return the tables: results on labelled data, if any, and agreement."""
        found = [*self._task(), self._comparison()]
        if not self.manifest.ways:
            return found
        found = [Section(f"{self.manifest.task}: {title}", rows) for title, rows in found]
        for task in self.manifest.ways:
            way = self.manifest.of_way(task)
            card = QualityCard(way, self.files, self.quality["ways"][task])
            found += [Section(f"{task}: {title}", rows) for title, rows in card.sections()]
        return found

    @property
    def meaning(self) -> str:
        """Explain the figures of the last section."""
        return self.manifest.head_record.meaning

    @property
    def machine(self) -> str:
        """Describe the machine of the measurements."""
        machine = self.quality.get("machine")
        if machine is None:
            return "an unknown machine"
        flags = " ".join(machine["cpu_flags"]) or "no notable vector instructions"
        return f"{machine['cpu']} ({flags}), {machine['cores']} cores, {machine['system']}"

    @property
    def processors(self) -> str:
        """Describe int8 on other processors; empty without an int8 variant."""
        if not any(v.precision == "int8" and v.calibration for v in self.manifest.variants):
            return ""
        return self._scales + (
            "In ONNX Runtime int8 answers the same on any x86-64 processor. In OpenVINO on a "
            "processor without VNNI its answers depend on the batch (a cosine of 0.9956 was "
            "measured of a text alone and in a batch), so it is never picked there."
        )

    @property
    def _scales(self) -> str:
        """Say which engine measures scales; empty if the card has no figures of one."""
        if not any(f.get("scales") == "token" for f in self.quality["variants"].values()):
            return ""
        return (
            "The native engine measures a scale for each token; the figures of int8 alone are of "
            "ONNX Runtime, with the scales of the artifact. "
        )

    @property
    def zero_vectors(self) -> str:
        """Say how many texts became zero vectors; empty if none did."""
        agreement = self.quality.get("agreement", {})
        if not (count := agreement.get("zero_vectors", 0)):
            return ""
        return (
            f"{count:,} of {agreement['texts']:,} texts ({agreement['data']}) became zero vectors: "
            "no word of theirs is in the table."
        )

    @property
    def worst_title(self) -> str:
        """Return the title of `worst_lines`, with the name of the worst variant."""
        what = "their cosines" if self._is_of_vectors else "how far their scores are off"
        return f"worst texts of {self._worst_variant()}, and {what}"

    def worst_lines(self) -> list[str]:
        """Return the worst texts of the worst variant."""
        figures = self.quality["variants"][self._worst_variant()]
        return [f"{value:.6f}  {text!r}" for text, value in figures.get("worst_texts", [])]

    def _task(self) -> list[Section]:
        task = self.quality.get("task")
        if task is None:
            return []
        name = _TASK_TITLES.get(task["measure"], task["measure"])
        title = (
            f"{name} on the {task['rows']:,} rows of {task['data']}, with "
            f"{task['confidence']:.0%} bootstrap intervals ({task['resamples']:,} resamples)"
        )
        bases, measured = {"difference": "against checkpoint"}, {"checkpoint": task["checkpoint"]}
        if "source" in task:
            bases["source_difference"] = "against untrimmed"
            measured = {"untrimmed": task["source"], **measured}
        rows: list[tuple[str, ...]] = [("", name, *bases.values())]
        for label, figures in {**measured, **task["variants"]}.items():
            differences = [_with_interval(figures, key, "+.2f") for key in bases]
            rows.append((label, _with_interval(figures, "value", ".2f"), *differences))
        return [Section(title, rows)]

    def _comparison(self) -> Section:
        agreement = self.quality.get("agreement", {"variants": {}})
        agreed, parity = self._agreement_columns(agreement), self._parity_columns
        title = f"{_titles(parity)} on {self.quality.get('texts', '?')} texts"
        title += f" ({self.quality.get('data', 'unknown')})"
        if agreement["variants"]:
            on = f"{agreement['texts']} texts ({agreement['data']})"
            title = f"{_titles(agreed)} on {on}; {title}"
        rows = [("variant", "MB", "of fp32", *(column.title for column in (*agreed, *parity)))]
        variants = self.manifest.variants
        fp32 = next((self._bytes(v) for v in variants if v.precision == "fp32"), None)
        for label, variant in self._measured():
            size = self._bytes(variant)
            share = f"{size / fp32:.2f}x" if fp32 else _UNKNOWN
            figures = [
                *_figures(agreement["variants"].get(label, {}), agreed),
                *_figures(self.quality["variants"][label], parity),
            ]
            rows.append((label, f"{size / 1e6:.1f}", share, *figures))
        return Section(f"against the checkpoint: {title}", rows)

    def _measured(self) -> list[tuple[str, Variant]]:
        """Return the variants by their names in `quality.json`, those in other engines as well."""
        labels: list[str] = list(self.quality["variants"])
        return [
            (label, variant)
            for variant in self.manifest.variants
            for label in labels
            if variant.name in (label, label.partition(_IN)[0])
        ]

    @property
    def _is_of_vectors(self) -> bool:
        return self.manifest.head_record.answers_vectors

    @property
    def _parity_columns(self) -> tuple[_Column, ...]:
        return _VECTOR_COLUMNS if self._is_of_vectors else _LOGITS_COLUMNS

    def _agreement_columns(self, agreement: Mapping[str, Any]) -> list[_Column]:
        """Return the columns, with those of the untrimmed checkpoint if they were measured."""
        measures = self.manifest.head_record.agreement_measures
        columns = [_Column(title, measure, ".4f") for measure, title in measures.items()]
        measured = {key for figures in agreement["variants"].values() for key in figures}
        return columns + [
            _Column(f"{title} (untrimmed)", f"source_{key}", form)
            for title, key, form in columns
            if f"source_{key}" in measured
        ]

    def _bytes(self, variant: Variant) -> int:
        return variant_bytes(self.files, variant)

    def _worst_variant(self) -> str:
        sign = 1 if self._is_of_vectors else -1

        def goodness(name: str) -> float:
            texts = self.quality["variants"][name].get("worst_texts", [])
            return float(sign * texts[0][1]) if texts else float("inf")

        names: list[str] = list(self.quality["variants"])
        return min(names, key=goodness)


def _titles(columns: Sequence[_Column]) -> str:
    *firsts, last = (column.title for column in columns if "(" not in column.title)
    return " and ".join([*([", ".join(firsts)] if firsts else []), last])


def _figures(measured: Mapping[str, Any], columns: Sequence[_Column]) -> list[str]:
    values = [(measured.get(column.key), column.form) for column in columns]
    return [_UNKNOWN if value is None else format(value, form) for value, form in values]


def _with_interval(figures: Mapping[str, Any], key: str, form: str) -> str:
    if key not in figures:
        return ""
    interval = "interval" if key == "value" else f"{key}_interval"
    # Adding 0 turns -0.00 into 0.00.
    value, low, high = (format(round(n, 2) + 0.0, form) for n in (figures[key], *figures[interval]))
    return f"{value} [{low}, {high}]"
