"""A real Prometheus that scrapes the pods, asked for the busy share of each as by an adapter."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lanner_perf.elastic.replay.programs import free_port, program, running


class Watcher:
    """The Prometheus of a replay.

    Args:
        url: Its address.
        targets: The file that names the pods.
        window_s: Seconds over which the busy share is averaged.
    """

    def __init__(self, url: str, targets: Path, window_s: float) -> None:
        self._url, self._targets, self._window_s = url, targets, window_s

    def watch(self, ports: Mapping[str, int]) -> None:
        """Scrape these pods, by their names, and no others."""
        some = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"pod": name}}
            for name, port in ports.items()
        ]
        part = self._targets.with_suffix(".part")
        part.write_text(json.dumps(some))
        part.replace(self._targets)

    def busy(self) -> dict[str, float]:
        """Return the busy share of each pod that has one."""
        window = f"{self._window_s * 1e3:.0f}ms"
        query = (
            f"sum by (pod) (rate(lanner_busy_seconds_total[{window}])) "
            "/ sum by (pod) (lanner_model_workers)"
        )
        url = f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (of this machine)
            found = json.load(answer)["data"]["result"]
        return {one["metric"]["pod"]: float(one["value"][1]) for one in found}


@contextmanager
def watching(directory: Path, *, window_s: float, scrape_s: float) -> Iterator[Watcher]:
    """Yield a running Prometheus without pods.

    Args:
        directory: A directory for its files.
        window_s: Seconds over which the busy share is averaged.
        scrape_s: Seconds between two scrapes.
    """
    port, targets = free_port(), directory / "targets.json"
    targets.write_text("[]")
    every = f"{scrape_s * 1e3:.0f}ms"
    job = {
        "job_name": "lanner",
        "scrape_interval": every,
        "scrape_timeout": every,
        "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}],
    }
    (directory / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    url = f"http://127.0.0.1:{port}"
    command = [
        program("prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, directory / "prometheus.log", ready=f"{url}/-/ready"):
        yield Watcher(url, targets, window_s)
