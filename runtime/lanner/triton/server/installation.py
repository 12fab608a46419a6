"""Installations of the Triton server on this machine: how to find one and what it needs to start.

Three kinds are known: NVIDIA's container (``/opt/tritonserver``), the wheel ``nvidia-pytriton``,
and a custom build in the layout of the container::

    NAME/bin/tritonserver               the server
    NAME/backends/python/               its Python backend; others, where they are, beside it
    NAME/caches/local/                  its response cache
    NAME/python_backend_stubs/3.11/     in the wheel only: the stub that runs models in Python 3.11
    NAME/../../nvidia_pytriton.libs/    in the wheel only: the libraries of all these
    NAME/../../numpy/                   in the wheel only: a numpy below 2, where models need it
"""

import mmap
import os
import re
import shutil
import site
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from lanner.errors import ServerError

VARIABLE = "LANNER_TRITONSERVER"

_STUB = "triton_python_backend_stub"
_ADVICE = (
    "pip install --no-deps --target DIR nvidia-pytriton 'numpy<2', and set "
    f"{VARIABLE}=DIR/pytriton/tritonserver/bin/tritonserver"
)
_DOCKER = (
    "docker run --rm --shm-size=1g -p 8000-8002:8000-8002 -v {repository}:/models "
    "nvcr.io/nvidia/tritonserver:YY.MM-py3 tritonserver --model-repository=/models"
)
_ENVIRONMENT = '''\
"""Puts the packages of the process that started the server within reach of its models."""

import site
import sys

# A model repository is not written to by whoever serves it; in poll mode that would load it anew.
sys.dont_write_bytecode = True
# What a model prints belongs into the log at once.
sys.stdout.reconfigure(line_buffering=True)
for path, is_site in {paths!r}:
    if is_site:
        site.addsitedir(path)  # with what it holds of editable installs
    elif path not in sys.path:
        sys.path.append(path)
'''


@dataclass(frozen=True)
class Installation:
    """An installed tritonserver.

    Attributes:
        binary: The program.
        found: The way it was found: LANNER_TRITONSERVER, PATH or nvidia-pytriton.
    """

    binary: Path
    found: str

    @property
    def root(self) -> Path:
        """Directory with the backends and caches."""
        return self.binary.resolve().parent.parent

    @property
    def has_cache(self) -> bool:
        """True if it has the response cache of the option ``--cache-config local``."""
        return (self.root / "caches" / "local").is_dir()

    @property
    def is_wheel(self) -> bool:
        """True if it is the server of the wheel nvidia-pytriton."""
        return (self.root / "python_backend_stubs").is_dir()

    def knows(self, option: str) -> bool:
        """Return whether the program has an option, by searching its file for the name."""
        with self.binary.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(option.removeprefix("--").encode()) >= 0

    def check(self) -> None:
        """Check that the installation can run models in this environment.

        Raises:
            ServerError: The program is not executable, or has no Python backend for this version
                of Python or numpy.
        """
        if not self.binary.is_file():
            msg = f"{self.found} names {self.binary}, but the file does not exist: {_ADVICE}"
            raise ServerError(msg)
        if not os.access(self.binary, os.X_OK):
            msg = f"{self.binary} is not executable: chmod +x {self.binary}"
            raise ServerError(msg)
        if self.is_wheel:
            self._stub()
            self._numpy()

    def lay_out(self, work: Path) -> tuple[list[str], dict[str, str]]:
        """Return the options and environment with which the server finds its parts and Lanner.

        Args:
            work: An empty directory that exists as long as the server; only it is written to.

        Raises:
            ServerError: The server cannot run models in this version of Python.
        """
        self.check()
        options = []
        environment = dict(os.environ)
        backends = self.root / "backends"
        libraries = self._packages / "nvidia_pytriton.libs"
        stub = backends / "python" / _STUB
        first: list[Path] = []
        if self.is_wheel:
            stub, first = self._stub(), self._numpy()
            backends = work / "backends"
            _link(self.root / "backends", backends, stub)
        if libraries.is_dir():
            _prepend(environment, "LD_LIBRARY_PATH", libraries)
        if backends.is_dir():
            options.append(f"--backend-directory={backends}")
        if (self.root / "caches").is_dir():
            options.append(f"--cache-directory={self.root / 'caches'}")
        if _python_of(stub) == _python():
            # A stub is an interpreter of its own that ignores PYTHONPATH: it takes its environment
            # from the first python3 of PATH, and the first libpython that the loader finds.
            _make_environment(work / "python", first)
            _prepend(environment, "PATH", work / "python" / "bin")
            _prepend(environment, "LD_LIBRARY_PATH", work / "python" / "libpython")
        return options, environment

    @property
    def _packages(self) -> Path:
        """Return the directory that the wheel is installed in."""
        return self.root.parent.parent

    def _stub(self) -> Path:
        stubs = self.root / "python_backend_stubs"
        stub = stubs / _python() / _STUB
        if stub.is_file():
            return stub
        versions = sorted(
            (path.name for path in stubs.iterdir()),
            key=lambda name: [int(part) for part in re.findall(r"\d+", name)],
        )
        msg = (
            f"{self.binary} runs models in Python {', '.join(versions)}, but this is Python "
            f"{_python()}: install Lanner in one of those, or use a newer nvidia-pytriton"
        )
        raise ServerError(msg)

    def _numpy(self) -> list[Path]:
        """Return the files of the numpy that models must import, or none if Lanner's will do.

        The Python backend of the wheel was built for numpy 1. With numpy 2 it does not fail, but
        every value of an input becomes the first one.
        """
        beside = next(iter(metadata.distributions(name="numpy", path=[str(self._packages)])), None)
        if beside is not None and _is_numpy_1(beside.version):
            return sorted(self._packages.glob("numpy*"))
        own = metadata.version("numpy")
        if _is_numpy_1(own):
            return []
        msg = (
            f"the Python backend of nvidia-pytriton gives its models wrong inputs with numpy {own}:"
            f" pip install --no-deps --target {self._packages} 'numpy<2'"
        )
        raise ServerError(msg)


def find_tritonserver(repository: str | os.PathLike[str] | None = None) -> Installation:
    """Find tritonserver: by LANNER_TRITONSERVER, in PATH, or in an installed nvidia-pytriton.

    Args:
        repository: The repository to serve, for the message about NVIDIA's container.

    Raises:
        ServerError: There is none, or it cannot run; the message says how to get one.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = Installation(Path(named).absolute(), VARIABLE)
    elif on_path := shutil.which("tritonserver"):
        found = Installation(Path(on_path).absolute(), "PATH")
    elif wheel := _installed_wheel():
        found = Installation(wheel, "nvidia-pytriton")
    else:
        msg = f"tritonserver was not found: {_ADVICE}"
        if repository is not None:
            docker = _DOCKER.format(repository=Path(repository).absolute())
            msg += f"; or use NVIDIA's container: {docker}"
        raise ServerError(msg)
    found.check()
    return found


def _installed_wheel() -> Path | None:
    """Return the program of an installed nvidia-pytriton, without importing it."""
    spec = find_spec("pytriton")
    places = (spec and spec.submodule_search_locations) or ()
    binaries = [Path(place) / "tritonserver" / "bin" / "tritonserver" for place in places]
    return next((binary for binary in binaries if binary.is_file()), None)


def _is_numpy_1(version: str) -> bool:
    return version.partition(".")[0] == "1"


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _python_of(stub: Path) -> str | None:
    """Return the Python version of a stub, by its directory in the wheel or by its libraries."""
    if not stub.is_file():
        return None
    if re.fullmatch(r"\d+\.\d+", stub.parent.name):
        return stub.parent.name
    found = re.search(rb"libpython(\d+\.\d+)\.so", stub.read_bytes())
    return found and found[1].decode()


def _link(backends: Path, copy: Path, stub: Path) -> None:
    """Make a copy of all backends out of links, with the stub in that of Python."""
    python = copy / "python"
    python.mkdir(parents=True)
    for path in (*(backends / "python").iterdir(), stub):
        if path.name != "__pycache__":
            (python / path.name).symlink_to(path)
    for path in backends.iterdir():
        if path.name != python.name:
            (copy / path.name).symlink_to(path)


def _make_environment(home: Path, first: Sequence[Path]) -> None:
    """Make a virtual environment that imports the same modules as this process.

    Args:
        home: The directory to make.
        first: Packages that come before all others.
    """
    packages = home / "lib" / f"python{_python()}" / "site-packages"
    for directory in (packages, home / "bin", home / "libpython"):
        directory.mkdir(parents=True)
    for path in first:
        (packages / path.name).symlink_to(path)
    base = Path(getattr(sys, "_base_executable", sys.executable))
    (home / "bin" / "python3").symlink_to(base)
    (home / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\n"
    )
    library = str(sysconfig.get_config_var("INSTSONAME"))
    shared = Path(str(sysconfig.get_config_var("LIBDIR")), library)
    if ".so" in library and shared.is_file():
        # Link this file alone: the server must not find the libraries next to it.
        (home / "libpython" / library).symlink_to(shared)
    sites = {*site.getsitepackages(), site.getusersitepackages()}
    paths = [(str(Path(path).absolute()), path in sites) for path in sys.path if _is_ours(path)]
    (packages / "lanner_serve.py").write_text(_ENVIRONMENT.format(paths=paths), encoding="utf-8")
    (packages / "lanner_serve.pth").write_text("import lanner_serve\n")


def _is_ours(path: str) -> bool:
    """Return whether models may import from a path: not if it is just the working directory."""
    # "" and the working directory are in the path of `python -m` and of an interactive Python.
    here, lanner = Path.cwd(), Path(__file__).parents[3]
    return Path(path).absolute() != here or lanner == here


def _prepend(environment: dict[str, str], name: str, path: Path) -> None:
    before = environment.get(name)
    environment[name] = f"{path}{os.pathsep}{before}" if before else str(path)
