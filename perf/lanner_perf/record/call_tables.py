"""Tables of a server in a report: the parts of a call's time, and the conditions."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner_perf.record.call_parts import PARTS
from lanner_perf.record.figures import Figure, by_number, figures
from lanner_perf.record.tables import Cell, Table, name_cell

Report = Mapping[str, Any]
#: The number of callers whose calls are shown in parts beside those of one caller. If it was not
#: measured, the largest number is taken.
MANY = "16"
_COLUMNS = {"call_ms": "ms of a call", **{key: text.split(":")[0] for key, text in PARTS.items()}}
_WORK = {
    "texts_per_request": "texts a request",
    "texts_per_run": "texts a run",
    "cached_percent": "% of requests from the cache",
    "cpu_ms": "CPU ms a text: own process",
    "server_cpu_ms": "server",
    "models_cpu_ms": "its models",
}
#: The explanation, below a first table, of the names of the ways to a server.
WAYS = (
    "In a name, tokens means the model that takes tokens, so that the client tokenizes; texts "
    "means the model whose name ends in _text, which tokenizes in the server."
)
_BY_HAND = (
    "The Python backend around ONNX Runtime with its defaults and stock int8, dynamic batching of "
    "requests of equal length, and a client of tritonclient that sends one text a request"
)


def part_loads(report: Report) -> list[str]:
    """Return the numbers of callers whose calls are shown in parts: the fewest and many.

    Many is `MANY` callers, or the most if `MANY` was not measured.
    """
    rows = [row.get("concurrency", {}) for row in report["subjects"]]
    loads = by_number({load for row in rows for load in row if "client_ms" in row[load]})
    if not loads:
        return []
    many = MANY if MANY in loads else loads[-1]
    return list(dict.fromkeys((loads[0], many)))


def callers_text(load: str) -> str:
    """Return a number of callers in words."""
    return "one caller" if load == "1" else f"{load} callers"


def call_tables(report: Report) -> list[Table]:
    """Return the tables of a call's parts, of batches and of CPU time; empty without a server."""
    loads = part_loads(report)
    parts = "; ".join(PARTS.values())
    base = report["subjects"][0]["name"]
    notes = (
        f"Means, which add up. {parts}. Below each call is its time beyond {base}.",
        "Means of the same parts.",
    )
    tables = [
        _table(report, load, f"Where the time of a call goes: {callers_text(load)}", note, _COLUMNS)
        for load, note in zip(loads, notes, strict=False)
    ]
    for load in loads[-1:]:
        note = (
            "A run of the model is a batch, without the texts answered from the cache. A request "
            "holds texts of several callers of one client. CPU time is the sum over all cores; the "
            "server's is given if its process is visible from here."
        )
        tables.append(_table(report, load, f"Batches and cores: {callers_text(load)}", note, _WORK))
    return tables


def _table(report: Report, load: str, title: str, note: str, columns: Mapping[str, str]) -> Table:
    rows = []
    base = figures(report["subjects"][0]).get(f"concurrency.{load}.call_ms")
    for index, row in enumerate(report["subjects"]):
        found = figures(row)
        keys = {name: f"concurrency.{load}.{name}" for name in columns}
        if keys_of := [key for key in keys.values() if key in found]:
            cells = [
                _cell(found[key], base if name == "call_ms" and index else None)
                if key in keys_of
                else Cell()
                for name, key in keys.items()
            ]
            rows.append([name_cell(index, row), *cells])
    return Table(title, note, ["", *columns.values()], rows)


def _cell(figure: Figure, base: Figure | None) -> Cell:
    beyond = "" if base is None else f"{figure.median - base.median:+.2f}"
    return Cell(figure.text, beyond, figure.spread_text)


def server_conditions(report: Report) -> dict[str, str]:
    """Return the conditions for reading a server's figures; empty for a report without a server."""
    if "server" not in report:
        return {}
    server = report["server"]
    where = "on this machine, whose cores it shares" if server["is_here"] else "on another machine"
    found = {
        "Server": f"Triton {server['version']} at {' and '.join(server['urls'])}, {where}",
        "Models": "; ".join(_model_text(model) for model in server["models"]),
    }
    if server["is_here"]:
        found["Threads"] = (
            f"{report['threads']} of {report['machine']['cores']} cores for a client, or the model "
            "in process, one subject at a time; the server has its own threads, set by its models"
        )
    found["Client"] = (
        "Memory, cold start and CPU time of the own process are those of a client, or of the model "
        "in process; the server's are not included"
    )
    if server["new_texts"]:
        found["Cache"] = (
            "The timed texts have as many words as the originals, drawn at random from all of "
            "them, so that the server's cache has never seen them; subjects named cached are timed "
            "with texts that it has seen"
        )
    if calls := report["subjects"][0].get("throughput"):
        texts = " and ".join(f"{speed['texts']:,} {name}" for name, speed in calls.items())
        found["One call"] = f"{texts} texts; texts/s are those of one call unless callers are named"
    if any(row["kind"] == "triton-plain" for row in report["subjects"]):
        found["By hand"] = _BY_HAND
    if others := _other_requests(report["subjects"]):
        found["Others"] = (
            f"{others:,} requests of other clients reached the models meanwhile: they took a share "
            "of the server, and its queue, model and batches include them"
        )
    return found


def _model_text(model: Report) -> str:
    instances = f"{model['instances']} instance{'s' if model['instances'] > 1 else ''}"
    cache = "with" if model["has_cache"] else "without"
    return (
        f"{model['name']} version {model['version']}, {model['variant']}, takes {model['takes']}, "
        f"backend {model['backend']}, {instances}, batches up to {model['max_batch_size']}, "
        f"{cache} response cache"
    )


def _other_requests(subjects: Sequence[Report]) -> int:
    return sum(
        load.get("other_requests", 0)
        for row in subjects
        for load in row.get("concurrency", {}).values()
    )
