"""Tables of a server in a report: the parts of a call's time, and the conditions."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner_perf.record.call_parts import PARTS
from lanner_perf.record.figures import Figure, by_number, figures
from lanner_perf.record.tables import Cell, Table, name_cell

Report = Mapping[str, Any]
#: The number of callers whose calls are taken apart beside those of one; the largest else.
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
#: How a first table explains the names of the ways to a server.
WAYS = (
    "What is called tokens is the model that takes tokens, so that the client tokenises; texts is "
    "the one whose name ends in _text, which tokenises in the server."
)
_BY_HAND = (
    "The Python backend around ONNX Runtime with its defaults and stock int8, dynamic batching of "
    "requests of equal length, and a client of tritonclient that sends one text a request"
)


def part_loads(report: Report) -> list[str]:
    """Of which numbers of callers a call is taken apart: the fewest, and `MANY` or the most."""
    rows = [row.get("concurrency", {}) for row in report["subjects"]]
    loads = by_number({load for row in rows for load in row if "client_ms" in row[load]})
    if not loads:
        return []
    many = MANY if MANY in loads else loads[-1]
    return list(dict.fromkeys((loads[0], many)))


def callers_text(load: str) -> str:
    """A number of callers, for people."""
    return "one caller" if load == "1" else f"{load} callers"


def call_tables(report: Report) -> list[Table]:
    """The parts of a call, what batches were made, and whose CPU time it took; maybe none."""
    loads = part_loads(report)
    parts = "; ".join(PARTS.values())
    base = report["subjects"][0]["name"]
    notes = (
        f"Means, which add up. {parts}. Below a call is what it takes beyond {base}.",
        "Means of the same parts.",
    )
    tables = [
        _table(report, load, f"Where the time of a call goes: {callers_text(load)}", note, _COLUMNS)
        for load, note in zip(loads, notes, strict=False)
    ]
    for load in loads[-1:]:
        note = (
            "A run of the model is a batch: what of it was not answered from the cache. A request "
            "holds texts of several callers of one client. CPU time is that of all cores; of the "
            "server where its process is to be seen from here."
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
            "in process, one subject at a time; the server has its own, as its models say"
        )
    found["Client"] = (
        "Memory, cold start and CPU time of the own process are those of a client, or of the model "
        "in process; the server's are not in them"
    )
    if server["new_texts"]:
        found["Cache"] = (
            "What is timed has as many words as each text, drawn at random from all of them, so "
            "that the cache of the server has never seen it; what is called cached was seen before"
        )
    if calls := report["subjects"][0].get("throughput"):
        texts = " and ".join(f"{speed['texts']:,} {name}" for name, speed in calls.items())
        found["One call"] = f"{texts} texts; texts/s are of one call where no callers are named"
    if any(row["kind"] == "triton-plain" for row in report["subjects"]):
        found["By hand"] = _BY_HAND
    if others := _other_requests(report["subjects"]):
        found["Others"] = (
            f"{others:,} requests of others reached the models meanwhile: they took their share of "
            "the server, and are in its queue, model and batches"
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
