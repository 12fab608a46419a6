"""Settings: a file, the environment and flags."""

from dataclasses import replace
from pathlib import Path

import pytest

from lanner.errors import InputError, UsageError
from lanner.service.protection import check
from lanner.service.settings import Settings, named
from lanner.service.targets import require_targets


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "service.toml"
    file.write_text(
        'port = 1\nmax_texts = 7\ndrain_s = 3\n[models]\nm = "a"\n[aliases]\nx = "m:q"\n'
    )
    found = Settings.read(
        file=file,
        environment={"LANNER_SERVE_PORT": "2", "LANNER_SERVE_DRAIN_S": "4.5", "OTHER": "x"},
        flags={"port": "3", "host": None},
    )
    assert (found.port, found.drain_s, found.max_texts, found.host) == (3, 4.5, 7, "127.0.0.1")
    assert (found.models, found.aliases) == ({"m": "a"}, {"x": "m:q"})
    file.write_text('[models]\nm = "a"\n')
    assert Settings.read(file=file, environment={}, targets=["b=c"]).models == {"b": "c"}


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text("port = 5\nworkers = 2\n")
    environment = {
        "LANNER_SERVE_CONFIG": str(tmp_path / "service.toml"),
        "LANNER_SERVE_PORT": "6",
    }
    found = Settings.read(environment=environment)
    assert (found.port, found.workers) == (6, 2)


def test_the_environment_says_everything_in_text() -> None:
    environment = {
        "LANNER_SERVE_MODELS": "m=/a, grpc://host:1/n",
        "LANNER_SERVE_ALIASES": "x=m",
        "LANNER_SERVE_TRUNCATE": "no",
        "LANNER_SERVE_CORS_ORIGINS": "http://a.org, http://b.org",
        "LANNER_SERVE_THREADS": "2",
    }
    found = Settings.read(environment=environment)
    assert found.models == {"m": "/a", "n": "grpc://host:1/n"}
    assert (found.truncate, found.threads) == (False, 2)
    assert found.cors_origins == ("http://a.org", "http://b.org")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"port": "65536"}, "port must be a port, 0 to 65535, not 65536"),
        ({"port": "x"}, "the setting port cannot be 'x'"),
        ({"port": True}, "the setting port cannot be True"),
        ({"port": 1.5}, "the setting port cannot be 1.5"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"drain_s": "0"}, "drain_s must be a number of seconds above 0, not 0.0"),
        ({"drain_s": "inf"}, "drain_s must be a number of seconds above 0"),
        ({"truncate": "perhaps"}, "the setting truncate cannot be 'perhaps'"),
        ({"prot": 1}, "there is no setting 'prot'"),
        ({"host": 1}, "the setting host cannot be 1"),
        ({"models": 1}, "the setting models cannot be 1"),
        ({"tls_key": "a.key"}, "tls_certificate and tls_key belong together"),
        ({"tls_client_ca": "a.pem"}, "tls_client_ca needs tls_certificate"),
        ({"models": "m=a", "aliases": "x=n"}, "the alias 'x' is of 'n'"),
    ],
    ids=str,
)
def test_a_setting_that_is_none_is_named(flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings.read(environment={}, flags=flags)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml cannot be read as a configuration"):
        Settings.read(file=tmp_path / "gone.toml", environment={})
    broken = tmp_path / "broken.toml"
    broken.write_text("port = ")
    with pytest.raises(UsageError, match=r"broken\.toml cannot be read as a configuration"):
        Settings.read(file=broken, environment={})


def test_certificates_that_nothing_would_be_reached_with_are_refused(tmp_path: Path) -> None:
    settings = Settings(
        models={"m": "grpc://host:1", "n": "grpcs://host:1"}, root_certificates="ca.pem"
    )
    require_targets(settings)
    with pytest.raises(UsageError, match=r"root_certificates would not be used: no target begins"):
        require_targets(replace(settings, models={"m": "grpc://host:1"}))
    with pytest.raises(InputError, match=r"ca\.pem cannot be read \(No such file or directory\)"):
        check(replace(settings, root_certificates=str(tmp_path / "ca.pem")))


def test_targets_are_called_as_their_directories_are() -> None:
    assert named(["/models/minilm.lanner", "r=x", "http://h:1/m"]) == {
        "minilm": "/models/minilm.lanner",
        "r": "x",
        "m": "http://h:1/m",
    }
    with pytest.raises(UsageError, match="two targets are called 'a'"):
        named(["a", "b/a.lanner"])
    with pytest.raises(UsageError, match="gives no name for clients"):
        named(["a b"])


def test_a_link_is_called_as_itself_whatever_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "minilm.lanner").symlink_to("v1")
    assert list(named([str(tmp_path / "minilm.lanner")])) == ["minilm"]
    assert list(named([f"{tmp_path}/v1/."])) == ["v1"]
