"""`deploy/monitoring` on a real Prometheus and Alertmanager, which watch real services."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from numpy.typing import NDArray

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.program import Program
from tests.support.prometheus import ask, binary, watching, webhook
from tests.support.scripts import script
from tests.support.service import Service, serving
from tests.support.tls import identity
from tests.support.word_artifact import write_word_artifact

from lanner.errors import EngineError
from lanner.service.access.keys import add_key
from lanner.service.core.canary import Known, read_known, to_bytes
from lanner.service.known_answers import write_known_answers
from lanner.service.metrics.families import FAMILIES, TRITON_UP
from lanner.service.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
GUIDE = FOLDER.parents[1] / "docs" / "guide" / "monitoring.md"
#: Looks of half a second each: a test that stands still meanwhile loses none.
_LOOKS = 150
_SECONDS = 10


def queries() -> list[str]:
    content = json.loads((FOLDER / "dashboard.json").read_text())
    return [one["expr"] for panel in content["panels"] for one in panel.get("targets", ())]


def test_the_files_are_those_that_the_programs_write() -> None:
    assert (FOLDER / "rules.yml").read_text() == script(FOLDER / "rules.py").text()
    assert (
        json.loads((FOLDER / "dashboard.json").read_text())
        == script(FOLDER / "dashboard.py").dashboard()
    )


def test_each_alert_has_a_runbook_and_each_rule_a_test() -> None:
    rules = script(FOLDER / "rules.py")
    headings = re.findall(r"^### (\w+)$", GUIDE.read_text(), re.MULTILINE)
    assert headings == [name for name, *_ in rules.ALERTS]
    tests = (FOLDER / "rules_test.yml").read_text()
    for name, *_ in rules.ALERTS:
        assert f"alertname: {name}\n        exp_alerts:" in tests, name
        assert f"eval_time: 1h, alertname: {name}}}" in tests, name  # silent in a clean hour
    for name, _ in rules.recorded():
        assert f'- expr: "{name}"' in tests, name


def test_rules_and_dashboard_name_only_metrics_that_exist() -> None:
    rules = script(FOLDER / "rules.py")
    recorded = {name for name, _ in rules.recorded()}
    known = {family.name for family in (*FAMILIES, TRITON_UP)} | {"up"} | recorded
    expressions = [one for _, one in rules.recorded()] + [one for _, one, *_ in rules.ALERTS]
    for expression in expressions + queries():
        bare = re.sub(r'"[^"]*"', "", expression)
        for name in re.findall(r"\b(?:lanner[_:]|process_)[\w:]+", bare):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            assert {name, plain} & known, name


@pytest.mark.slow
def test_promtool_accepts_the_rules_and_their_tests() -> None:
    promtool = binary("promtool")
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"],
                    ["check", "config", "prometheus.yml"]):  # fmt: skip
        done = subprocess.run(
            [promtool, *command], cwd=FOLDER, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    amtool = [binary("amtool"), "check-config", "alertmanager.yml"]
    subprocess.run(amtool, cwd=FOLDER, check=True, capture_output=True)


class Fault:
    """An engine that does something bad before it answers."""

    name, run_tokens = "fault", 0

    def __init__(self, act: Callable[[], object], dimension: int) -> None:
        self._act, self._dimension = act, dimension

    def run(self, inputs: dict[str, Any], **_: object) -> NDArray[np.float32]:
        self._act()
        return np.ones((len(inputs["input_ids"]), self._dimension), np.float32)


def fail() -> None:
    msg = "it fails"
    raise EngineError(msg)


def spoil(service: Service, act: Callable[[], object]) -> None:
    """Give the model of a service another engine."""
    (served,) = service.app.pipeline.catalogue
    # The event loop itself runs short batches only.
    served.model.runner.scheduler.token_s = 1.0
    served.model.runner.engine = Fault(act, served.manifest.dimension)  # type: ignore[assignment]


@contextmanager
def loaded(
    service: Service, end: threading.Event, callers: int = 1, **headers: str
) -> Iterator[None]:
    """Send requests until the end of the block."""

    def call() -> None:
        while not end.is_set():
            try:
                service.post("/v1/embeddings", {"input": ["a b", "a"]})
            except OSError:
                return
            time.sleep(0.02)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def job(name: str, service: int, label: str, **more: Any) -> dict[str, Any]:
    relabelled = [{"target_label": "job", "replacement": label}]
    targets = [{"targets": [f"127.0.0.1:{service}"]}]
    return {"job_name": name, "static_configs": targets, "relabel_configs": relabelled, **more}


#: The faults of the test raise these; the others need hours, or no service at all.
EXPECTED = {
    "LannerDown",
    "LannerErrorBudgetBurns",
    "LannerErrorBudgetBurnsFast",
    "LannerNoAnswers",
    "LannerQueueFull",
    "LannerQueueOld",
    "LannerModelNotReady",
    "LannerSaturated",
    "LannerSlow",
    "LannerTritonDown",
    "LannerVectorsChanged",
    "LannerCertificateExpires",
    "LannerCertificateExpiresSoon",
    "LannerKeyExpires",
}


@pytest.mark.slow
def test_queries_answer_faults_raise_alerts_and_a_clean_service_raises_none(tmp_path: Path) -> None:
    words = write_word_artifact(tmp_path / "m.lanner")
    known, wrong = tmp_path / "known.json", tmp_path / "wrong.json"
    write_known_answers(Settings(models={"m": str(words)}), known)
    (of_model,) = read_known(known).values()
    other = [answer * np.float32(1.01) for answer in of_model.answers]
    wrong.write_bytes(to_bytes({"m": Known(of_model.texts, other)}))
    soon = (datetime.now(UTC) + timedelta(hours=20)).isoformat()
    keys = tmp_path / "keys.json"
    token, _ = add_key(keys, "team", expires=soon)
    own = identity(trustme.CA(), tmp_path, "localhost", days=1)
    end, may_go = threading.Event(), threading.Event()
    with ExitStack() as stack:
        enter = stack.enter_context
        port, got = enter(webhook())
        models = {"m": words}
        clean = enter(serving(models, canary=str(known), probe_s=0.5))
        expiring = enter(
            serving(
                models,
                keys=str(keys),
                tls_certificate=str(own.certificate),
                tls_key=str(own.key),
                canary=str(wrong),
                triton_metrics="http://127.0.0.1:1/metrics",
            )
        )
        failing = enter(serving(models))
        slow = enter(serving(models, threads=1))
        spoil(slow, lambda: time.sleep(2.5))
        enter(loaded(slow, end, callers=4))
        held = enter(serving(models, threads=1, max_queue_tokens=10, probe_s=0.5))
        held.post("/v1/embeddings", {"input": "a"})
        killed = Program(tmp_path)
        stack.callback(killed.kill)
        jobs = [
            job("clean", clean.door.port, "clean"),
            job("expiring", expiring.door.port, "lanner", scheme="https",
                tls_config={"insecure_skip_verify": True},
                authorization={"credentials": token}),
            job("failing", failing.door.port, "lanner"),
            job("slow", slow.door.port, "lanner"),
            job("held", held.door.port, "lanner"),
            job("killed", killed.port, "lanner"),
        ]  # fmt: skip
        # A rate is divided by its whole window, and five minutes are too long for a test.
        rules = (FOLDER / "rules.yml").read_text().replace("[5m]", "[20s]")
        rules = re.sub(r"for: \d+\w", "for: 1s", rules)
        url = enter(watching(tmp_path, jobs, rules, port))
        enter(loaded(clean, end))
        enter(loaded(failing, end))
        time.sleep(3)  # scrapes of the services as they should be
        clean.post("/embed", {"inputs": []})  # a refusal that is the client's fault
        spoil(failing, fail)
        spoil(held, lambda: may_go.wait(60))
        enter(loaded(held, end, callers=5))
        stack.callback(may_go.set)  # the first at the end
        killed.process.kill()
        arrived: set[str] = set()
        for _ in range(_LOOKS):
            time.sleep(0.5)
            arrived = {one["labels"]["alertname"] for one in got}
            if arrived >= EXPECTED:
                break
        assert arrived >= EXPECTED, EXPECTED - arrived
        assert [one for one in got if one["labels"].get("job") == "clean"] == []
        assert all(one["annotations"]["summary"] for one in got)
        for query in queries():
            asked = query.replace("$job", "clean").replace("$__rate_interval", f"{_SECONDS}s")
            answer = ask(f"{url}/api/v1/query", query=asked)
            assert answer["status"] == "success", query
            assert answer["data"]["result"], query


@pytest.mark.slow
def test_a_prometheus_that_knows_no_service_of_the_job_says_so(tmp_path: Path) -> None:
    words = write_word_artifact(tmp_path / "m.lanner")
    rules = re.sub(r"for: \d+\w", "for: 1s", (FOLDER / "rules.yml").read_text())
    with webhook() as (port, got), serving({"m": words}) as service:
        jobs = [job("renamed", service.door.port, "renamed")]
        with watching(tmp_path, jobs, rules, port):
            for _ in range(_LOOKS):
                if got:
                    break
                time.sleep(0.5)
    assert [one["labels"]["alertname"] for one in got] == ["LannerAbsent"]
