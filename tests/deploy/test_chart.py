"""The Helm chart: its renderings are recorded, valid, and say what the service understands."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
import yaml

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.helm import CASES, CHART, RENDERINGS, ROOT, objects, program, rendered, template
from tests.support.helm import settings as settings_of
from tests.support.program import Program, wait_until_ready
from tests.support.prometheus import ask, free_port, running, watching, webhook
from tests.support.service import serving
from tests.support.tls import identity, root
from tests.support.word_artifact import write_word_artifact

from lanner import __version__
from lanner.service.access.keys import add_key
from lanner.service.metrics.families import FAMILIES
from lanner.service.settings import Settings

HELM = CHART.parent
VOLUME = ("--set", "artifacts.volume.persistentVolumeClaim.claimName=models")
MTLS = (
    *(VOLUME[1], "tls.secretName=tls"),
    *("tls.clientCa.secretName=clients", "tls.probeSecretName=probe"),
)
#: checkov's objections to the renderings, and why the chart keeps them.
EXCEPTIONS = {
    "CKV_K8S_15": "images with a digest or a version need not be pulled again at each start",
    "CKV_K8S_43": "a user may name an image by its tag; image.digest is there for a digest",
    "CKV_K8S_35": "rclone reads the credentials of S3 from variables, and runs only at the start",
}


def test_the_files_are_those_that_the_programs_write() -> None:
    written = subprocess.run(
        [sys.executable, str(HELM / "schema.py")], check=True, capture_output=True, text=True
    ).stdout
    assert (CHART / "values.schema.json").read_text(encoding="utf-8") == written
    for name in ("rules.yml", "dashboard.json"):
        ours = ROOT / "deploy" / "monitoring" / name
        assert (CHART / "files" / name).read_bytes() == ours.read_bytes()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__


def test_the_chart_sets_only_settings_that_exist() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    names = {one.name for one in fields(Settings)}
    text = (CHART / "templates" / "_settings.tpl").read_text(encoding="utf-8")
    managed = set(re.findall(r"^(\w+) = ", text, re.MULTILINE)) | {"models", "aliases"}
    free = set(schema["properties"]["settings"]["properties"])
    assert managed - {"log"} == names - free


@pytest.mark.parametrize("case", CASES)
def test_the_renderings_are_the_recorded_ones(case: str) -> None:
    recorded = RENDERINGS / f"{case}.yaml"
    if os.environ.get("WRITE_RENDERINGS"):
        recorded.write_text(rendered(case), encoding="utf-8")
    assert rendered(case) == recorded.read_text(encoding="utf-8"), "WRITE_RENDERINGS=1 records it"


@pytest.mark.parametrize("case", CASES)
def test_the_service_understands_its_settings(case: str, tmp_path: Path) -> None:
    read = settings_of(case, tmp_path)
    assert (read.host, read.port, read.admin_port, read.log) == ("0.0.0.0", 8080, 8081, "json")  # noqa: S104
    spec = objects(case)["Deployment"]["spec"]["template"]["spec"]
    (service,) = spec["containers"]
    paused_s = service["lifecycle"]["preStop"]["sleep"]["seconds"]
    # The pod may live longer than the service needs after it was told to end.
    assert spec["terminationGracePeriodSeconds"] >= paused_s + read.drain_s + 10
    assert {one["name"]: one["containerPort"] for one in service["ports"]} == {
        "http": read.port,
        "admin": read.admin_port,
    }
    assert objects(case)["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
    }


def test_values_become_settings(tmp_path: Path) -> None:
    read = settings_of("s3-hpa", tmp_path)
    assert read.models["ranker"] == "/models/rankers/ms-marco.lanner"
    assert read.aliases == {"text-embedding-3-small": "minilm:query"}
    assert (read.engine, read.mask, read.max_queue_tokens) == ("native", ("email", "card"), 50_000)
    assert (read.reload_s, read.access_log) == (0.5, False)
    assert read.keys == "/etc/lanner/keys/keys.json"
    assert settings_of("triton", tmp_path).models == {"minilm": "grpc://127.0.0.1:8001/minilm"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((), "the models are in /models, which is empty: set artifacts.volume or artifacts.fetch"),
        (
            ("artifacts.fetch[0].to=a.lanner", "artifacts.fetch[0].s3=b/a"),
            "artifacts.sha256 has no checksum of a.lanner: write the output of 'sha256sum a.lanner",
        ),
        (
            (VOLUME[1], "autoscaling.minReplicas=0"),
            "autoscaling.minReplicas 0 needs autoscaling.by keda and autoscaling.keda.wakeQuery: ",
        ),
        (
            (VOLUME[1], "monitoring.serviceMonitor=true", "keys.secretName=keys"),
            "monitoring.keySecret.name is missing: the service needs keys, so Prometheus needs one",
        ),
        (
            (VOLUME[1], "tls.clientCa.secretName=clients"),
            "tls.clientCa needs tls.secretName: without TLS no client shows a certificate",
        ),
        (
            (VOLUME[1], "tls.clientCa.secretName=clients", "tls.secretName=tls"),
            "tls.probeSecretName is missing: with tls.clientCa the probes need a certificate, too",
        ),
        (
            (*MTLS, "monitoring.serviceMonitor=true"),
            "monitoring.clientSecretName is missing: with tls.clientCa Prometheus needs a certif",
        ),
        ((VOLUME[1], "settings.max_batch=3"), "additional properties 'max_batch' not allowed"),
        ((VOLUME[1], "settings.port=80"), "additional properties 'port' not allowed"),
        ((VOLUME[1], "models.minilm=../minilm"), "'/models/minilm': '../minilm' does not match"),
        ((VOLUME[1], "image.digest=sha256:12"), "'/image/digest': 'sha256:12' does not match"),
    ],
)
def test_values_that_cannot_work_are_refused(values: tuple[str, ...], message: str) -> None:
    done = template(*(word for one in values for word in ("--set", one)))
    assert done.returncode != 0
    assert message in done.stderr


def test_the_values_of_the_guide_render(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "production.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "values.yaml").write_text(block)
    done = template("--values", str(tmp_path / "values.yaml"))
    assert done.returncode == 0, done.stderr
    made = {one["kind"]: one for one in yaml.safe_load_all(done.stdout) if one}
    assert made["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 3


def test_helm_finds_nothing_to_object_to() -> None:
    for case in CASES:
        command = [program("helm/helm"), "lint", "--strict", str(CHART), "--values"]
        done = subprocess.run(
            [*command, str(CHART / "ci" / f"{case}-values.yaml")],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        assert "[WARNING]" not in done.stdout


def validated(text: str) -> tuple[int, str]:
    done = subprocess.run(
        [program("tools/bin/python"), str(HELM / "check.py")],
        check=False,
        input=text,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_object_is_valid_in_four_versions_of_kubernetes(case: str) -> None:
    status, said = validated((RENDERINGS / f"{case}.yaml").read_text(encoding="utf-8"))
    assert status == 0, said


@pytest.mark.slow
def test_the_validation_finds_what_no_version_knows() -> None:
    text = (RENDERINGS / "oci-keda.yaml").read_text(encoding="utf-8")
    text = text.replace("enableServiceLinks:", "enableServiceLink:")
    status, said = validated(text.replace("cooldownPeriod:", "cooldownPeriods:"))
    assert status == 1
    assert said.count("'enableServiceLink' was unexpected") == 4
    assert "ScaledObject lanner: .spec.cooldownPeriods is not known" in said


@pytest.mark.slow
def test_checkov_objects_to_nothing_but_the_exceptions() -> None:
    command = [program("checkov/bin/checkov"), "--directory", str(RENDERINGS), "--output", "json"]
    options = ["--framework", "kubernetes", "--skip-download", "--compact", "--quiet"]
    done = subprocess.run([*command, *options], check=False, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 300
    assert {one["check_id"] for one in report["results"]["failed_checks"]} == set(EXCEPTIONS)


def test_autoscaling_and_monitoring_name_metrics_that_exist() -> None:
    names = {one.name for one in FAMILIES}
    adapter = (HELM / "prometheus-adapter.yaml").read_text(encoding="utf-8")
    texts = [
        adapter,
        *((RENDERINGS / f"{case}.yaml").read_text() for case in ("oci-keda", "triton")),
    ]
    used = {name for text in texts for name in re.findall(r"lanner_\w+(?=\{)", text)}
    assert used == {"lanner_busy_seconds_total", "lanner_model_workers", "lanner_queue_age_seconds"}
    assert used <= names
    made = {one["name"]["as"] for one in yaml.safe_load(adapter)["rules"]["custom"]}
    (metric,) = objects("s3-hpa")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in made


def queries() -> Iterator[str]:
    """Yield the queries of KEDA, and those that the adapter makes of its templates."""
    for case in ("oci-keda", "triton"):
        yield objects(case)["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"]
    adapter = yaml.safe_load((HELM / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    for one in adapter["rules"]["custom"]:
        matchers = 'namespace="search",pod=~"lanner-a|lanner-b"'
        text = one["metricsQuery"].replace("<<.LabelMatchers>>", matchers)
        yield text.replace("<<.GroupBy>>", "pod")


@pytest.mark.slow
def test_a_real_prometheus_answers_the_queries_of_the_autoscalers(tmp_path: Path) -> None:
    words = write_word_artifact(tmp_path / "m.lanner")
    labels = {"job": "lanner", "namespace": "search", "pod": "lanner-a"}
    with webhook() as (port, _), serving({"m": words}) as service:
        jobs = [
            {
                "job_name": "any",
                "static_configs": [
                    {"targets": [f"127.0.0.1:{service.door.port}"], "labels": labels}
                ],
            }
        ]
        with watching(tmp_path, jobs, "groups: []", port) as url:

            def answers(query: str) -> list[float]:
                found = ask(f"{url}/api/v1/query", query=query)["data"]["result"]
                return [float(one["value"][1]) for one in found]

            for _ in range(200):
                service.post("/v1/embeddings", {"input": ["a b", "a"]})
                if answers("rate(lanner_busy_seconds_total[1m]) > 0"):
                    break
                time.sleep(0.05)
            else:
                pytest.fail("no rate of busy seconds")
            age, busy, share, oldest = (answers(query) for query in queries())
            assert age == oldest == [0]
            assert busy == pytest.approx(share, rel=0.5)  # asked a moment later
            assert 0 < busy[0] < 1
            # Without a pod, an autoscaler that may end all pods takes nothing for no work.
            (idle, other, *_) = (one.replace("search", "elsewhere") for one in queries())
            assert answers(idle) == [0]
            assert answers(other) == []


@contextmanager
def s3(directory: Path) -> Iterator[str]:
    """Yield the address of a server of S3 that shows directories, and takes any credentials."""
    port = free_port()
    command = [program("tools/bin/rclone"), "serve", "s3", str(directory)]
    options = ["--addr", f"127.0.0.1:{port}", "--config="]
    metrics = f"127.0.0.1:{free_port()}"
    options += ["--rc", "--rc-no-auth", "--rc-addr", metrics, "--rc-enable-metrics"]
    with running([*command, *options], f"http://{metrics}/metrics", directory / "log"):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.slow
def test_the_init_step_fetches_an_artifact_from_s3_and_compares_it(tmp_path: Path) -> None:
    (tmp_path / "s3").mkdir()
    artifact = write_word_artifact(tmp_path / "s3" / "models" / "minilm.lanner")
    spec = objects("s3-hpa")["Deployment"]["spec"]["template"]["spec"]
    fetch, verify = spec["initContainers"][0], spec["initContainers"][-1]
    place = tmp_path / "fetched"
    assert fetch["command"] == ["rclone"]
    arguments = [word.replace("/models/minilm", f"{place}/minilm") for word in fetch["args"]]
    with s3(tmp_path / "s3") as url:
        variables = {one["name"]: one.get("value", "") for one in fetch["env"]}
        variables |= {"RCLONE_S3_ENDPOINT": url, "RCLONE_CACHE_DIR": str(tmp_path / "cache")}
        variables |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
        rclone = program("tools/bin/rclone")
        subprocess.run([rclone, *arguments], check=True, env=variables, cwd=tmp_path)
    fetched = place / "minilm.lanner"
    assert {one.name for one in fetched.iterdir()} == {one.name for one in artifact.iterdir()}
    assert verify["command"][0] == "lanner-verify"
    sums = tmp_path / "artifacts.sha256"
    checker = [sys.executable, str(ROOT / "deploy/container/verify.py"), str(sums)]
    right = sha256((artifact / "manifest.json").read_bytes()).hexdigest()
    for digest, status in ((right, 0), ("0" * 64, 1)):
        sums.write_text(f"{digest}  minilm.lanner/manifest.json\n")
        assert subprocess.run(checker, check=False, cwd=place).returncode == status


def test_a_changed_secret_is_read_as_kubernetes_replaces_it(tmp_path: Path) -> None:
    words = write_word_artifact(tmp_path / "m.lanner")
    mounted = tmp_path / "keys"
    for version in ("..1", "..2"):
        (mounted / version).mkdir(parents=True)
    first, _ = add_key(mounted / "..1" / "keys.json", "first")
    second, _ = add_key(mounted / "..2" / "keys.json", "second")
    (mounted / "..data").symlink_to("..1")
    (mounted / "keys.json").symlink_to("..data/keys.json")
    with serving({"m": words}, keys=str(mounted / "keys.json")) as service:
        assert service.get("/v1/models", authorization=f"Bearer {first}").status == 200
        assert service.get("/v1/models", authorization=f"Bearer {second}").status == 401
        (mounted / "..new").symlink_to("..2")
        (mounted / "..new").rename(mounted / "..data")
        assert service.get("/v1/models", authorization=f"Bearer {first}").status == 401
        assert service.get("/v1/models", authorization=f"Bearer {second}").status == 200


def test_the_probes_have_a_certificate_where_clients_need_one(tmp_path: Path) -> None:
    read = settings_of("mtls", tmp_path)
    spec = objects("mtls")["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    volumes = {one["name"]: one.get("secret", {}).get("secretName") for one in spec["volumes"]}
    mounts = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
    # Secrets as Kubernetes mounts them: two files for an identity, and the authorities.
    authority = trustme.CA()
    files = {"/etc/lanner/clients/ca.crt": root(authority, tmp_path / "ca.crt")}
    for name in ("tls", "probe"):
        own = identity(authority, tmp_path, "localhost", file=name)
        files |= {
            f"/etc/lanner/{name}/tls.crt": own.certificate,
            f"/etc/lanner/{name}/tls.key": own.key,
        }
    assert {str(Path(one).parent) for one in files} < set(mounts)
    assert mounts["/etc/lanner/clients"] == "lanner-clients"
    assert read.tls_certificate is not None
    assert read.tls_key is not None
    assert read.tls_client_ca is not None
    variables = {one["name"]: one["value"] for one in container["env"]}
    certificate = {
        name: str(files[value]) for name, value in variables.items() if "_READY_" in name
    }
    words = write_word_artifact(tmp_path / "m.lanner")
    with serving(
        {"m": words},
        admin_port=free_port(),
        tls_certificate=str(files[read.tls_certificate]),
        tls_key=str(files[read.tls_key]),
        tls_client_ca=str(files[read.tls_client_ca]),
    ) as service:
        assert service.door.admin_url is not None
        address = service.door.admin_url.removesuffix("/")
        for name, path in (("startup", "ready"), ("readiness", "ready"), ("liveness", "health")):
            program_name, url = container[f"{name}Probe"]["exec"]["command"]
            assert (program_name, url) == ("lanner-ready", f"https://127.0.0.1:8081/{path}")
            command = [sys.executable, str(ROOT / "deploy/container/ready.py")]
            command.append(url.replace("https://127.0.0.1:8081", address))
            assert subprocess.run(command, check=False, env=certificate).returncode == 0
            done = subprocess.run(command, check=False, env={}, capture_output=True, text=True)
            assert done.returncode == 1
            assert f"/{path} does not answer: " in done.stdout


@pytest.mark.slow
def test_a_real_prometheus_shows_its_certificate(tmp_path: Path) -> None:
    (endpoint,) = objects("mtls")["ServiceMonitor"]["spec"]["endpoints"]
    tls = endpoint["tlsConfig"]
    assert tls["cert"]["secret"] == {"name": "lanner-prometheus", "key": "tls.crt"}
    assert tls["keySecret"] == {"name": "lanner-prometheus", "key": "tls.key"}
    authority = trustme.CA()
    own, client = (identity(authority, tmp_path, name) for name in ("localhost", "prometheus"))
    words = write_word_artifact(tmp_path / "m.lanner")
    with (
        webhook() as (port, _),
        serving(
            {"m": words},
            tls_certificate=str(own.certificate),
            tls_key=str(own.key),
            tls_client_ca=str(root(authority, tmp_path / "ca.crt")),
        ) as service,
    ):
        shown = {"cert_file": str(client.certificate), "key_file": str(client.key)}
        jobs = [
            {
                "job_name": name,
                "scheme": endpoint["scheme"],
                # The operator makes this of the field of the same meaning.
                "tls_config": {"insecure_skip_verify": tls["insecureSkipVerify"], **more},
                "static_configs": [{"targets": [f"127.0.0.1:{service.door.port}"]}],
            }
            for name, more in (("with", shown), ("without", {}))
        ]
        with watching(tmp_path, jobs, "groups: []", port) as url:
            for _ in range(200):
                found = ask(f"{url}/api/v1/query", query="up")["data"]["result"]
                up = {one["metric"]["job"]: one["value"][1] for one in found}
                if up.get("with") == "1" and "without" in up:
                    break
                time.sleep(0.1)
            assert up == {"with": "1", "without": "0"}


@pytest.mark.slow
def test_pods_are_replaced_under_load_without_a_failed_request(tmp_path: Path) -> None:
    # As the chart does it: the new pod is ready, the address of the old one is removed, and after
    # a pause the old one is told to end. Connections to it stay open until it closes them.
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = Program(tmp_path / "old")
    addresses, end = [old.port], threading.Event()
    counts, failures = {"old": 0, "new": 0}, list[str]()

    def call(*, keeps: bool) -> None:
        connection, port = None, 0
        while not end.is_set():
            if connection is None:
                port = addresses[0]
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("POST", "/embed", b'{"inputs": "a b"}')
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection = None
                continue
            if answer.status != 200:
                failures.append(str(answer.status))
            counts["old" if port == old.port else "new"] += 1
            if not keeps or answer.will_close:
                connection.close()
                connection = None
            time.sleep(0.005)
        if connection is not None:
            connection.close()

    callers = [threading.Thread(target=call, kwargs={"keeps": one % 2 == 0}) for one in range(6)]
    with ExitStack() as stack:
        stack.callback(old.kill)
        for caller in callers:
            caller.start()
            stack.callback(caller.join)
        stack.callback(end.set)
        new = Program(tmp_path / "new")
        stack.callback(new.kill)
        wait_until_ready(new)
        addresses[0] = new.port
        time.sleep(1)
        old.stop()
        time.sleep(1)
        end.set()
        for caller in callers:
            caller.join()
    assert failures == []
    assert min(counts.values()) > 50
