"""A report of the variants as a page of Markdown."""

from collections.abc import Sequence
from typing import Any

from lanner_perf.report.content import precision_text
from lanner_perf.report.markdown import markdown_table
from lanner_perf.subjects.subject import OWN_ENVIRONMENT

Report = dict[str, Any]


def page(report: Report, picture: str) -> str:
    """The tables, with everything that is needed to read them.

    Args:
        report: What `lanner_perf.variants.variants_report` measured.
        picture: The file name of its plot.
    """
    parts = [
        f"# {report['artifact']}: quality against speed",
        _conditions(report),
        f"![quality against speed]({picture})",
        markdown_table(_subject_rows(report)),
        _legend(report),
        "## What must hold",
        markdown_table(_check_rows(report)),
    ]
    if report["left_out"]:
        left_out = [f"- {item['name']}: {item['reason']}" for item in report["left_out"]]
        parts += ["## Not measured", "\n".join(left_out)]
    parts += ["## Versions", _versions("Lanner and torch", report["versions"])]
    parts += [
        _versions(f"The environment {name}", versions)
        for name, versions in report["environments"].items()
        if name != OWN_ENVIRONMENT
    ]
    return "\n\n".join(parts) + "\n"


def _conditions(report: Report) -> str:
    machine = report["machine"]
    return (
        f"{report['created'][:10]}, {machine['cpu']} ({', '.join(machine['cpu_flags'])}), "
        f"{report['threads']} threads, {machine['memory_bytes'] / 1e9:.0f} GB, "
        f"{machine['system']}, Python {machine['python']}. Timed is {report['timed']} "
        f"({report['rounds']}, interleaved), in brackets the lowest and the highest."
    )


def _legend(report: Report) -> str:
    short, mixed = (report["workloads"][name] for name in ("short", "mixed"))
    batches = report["random_batches"]
    return (
        f"Short are {short['texts']:,} texts of {short['source']} ({short['tokens']:,} tokens), "
        f"mixed {mixed['texts']:,} texts made of them ({mixed['tokens']:,} tokens). Cosine to the "
        "checkpoint is the mean over the short texts, in brackets the smallest. Alone or not is "
        "the smallest cosine of a sentence alone with the same sentence in any of "
        f"{batches['batches']} random batches of {batches['texts']} texts. Every subject has a "
        "process of its own and batches in its own way, at its best batch size. The stock file, "
        "and the one with QAttention, which is made of Lanner's fp32 graph, run in Lanner's "
        "place: with its tokenizer, batches and threads, and with the settings that ONNX Runtime "
        "has by itself."
    )


def _subject_rows(report: Report) -> list[Sequence[str]]:
    reference = report["subjects"][0]
    rows: list[Sequence[str]] = [
        (
            "",
            "precision",
            "short texts/s",
            "",
            "mixed texts/s",
            "",
            "one text, p50 ms",
            "Spearman x100",
            "cosine to the checkpoint",
            "alone or not",
            "MB",
            "load s",
        )
    ]
    for subject in report["subjects"]:
        quality = subject["quality"]
        speeds = []
        for workload in ("short", "mixed"):
            figures = subject["throughput"][workload]
            base = reference["throughput"][workload]["texts_per_s"]
            speeds += [
                _spread(figures["texts_per_s"], figures["rounds"], ",.0f"),
                f"{figures['texts_per_s'] / base:.2f}x",
            ]
        latency = subject["latency_ms"]
        rows.append(
            (
                subject["name"],
                precision_text(subject),
                *speeds,
                _spread(latency["p50"], [turn[0] for turn in latency["rounds"]], ".2f"),
                f"{quality['spearman']:.2f}" if "spearman" in quality else "",
                f"{quality['cosine_mean']:.5f} ({quality['cosine_min']:.4f})",
                f"{quality['batch_independence_cosine']:.6f}",
                f"{subject['model_bytes'] / 1e6:.1f}",
                f"{subject['cold_start']['load_s']:.2f}",
            )
        )
    return rows


def _check_rows(report: Report) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("", "must be", "measured", "holds")]
    for check in report["checks"]:
        must = f"{'at least' if check['is_least'] else 'at most'} {check['bound']:g}"
        if check["holds"] is None:
            rows.append((check["what"], must, check["missing"], "?"))
        else:
            measured = _spread(check["measured"], check["rounds"], ".4f")
            rows.append((check["what"], must, measured, "yes" if check["holds"] else "**no**"))
    return rows


def _spread(median: float, rounds: Sequence[float], style: str) -> str:
    if len(rounds) < 2:
        return f"{median:{style}}"
    return f"{median:{style}} ({min(rounds):{style}} to {max(rounds):{style}})"


def _versions(where: str, versions: dict[str, str]) -> str:
    return f"{where}: {', '.join(f'{name} {version}' for name, version in versions.items())}."
