"""`lanner keys`, run in this process."""

import json
from pathlib import Path

import pytest

from lanner.commands import main
from lanner.service.access.keys import KeyFile, read_keys


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    try:
        return main(["keys", *arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_a_key_is_shown_once_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "app", "--models", "minilm, ranker", "--tokens-per-minute", "1000") == 0
    shown = capsys.readouterr()
    token = shown.out.strip()
    assert shown.err == "keys.json has a new key 'app'; it is shown this once:\n"
    key = KeyFile(Path("keys.json")).check([(b"x-api-key", token.encode())])
    assert key is not None
    assert (key.name, key.models, key.tokens_per_minute) == ("app", ("minilm", "ranker"), 1000)
    assert run("list") == 0
    shown = capsys.readouterr()
    assert token not in shown.out
    head, _, row = shown.out.splitlines()
    assert " ".join(head.split()) == ("name models requests/min tokens/min at once expires state")
    assert row.split() == ["app", "minilm,ranker", "any", "1,000", "any", "never", "valid"]


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--requests-per-minute", "60", "--concurrent", "4", "--expires", "2099-01-31"]
    assert run("add", "app", *limits, "--file", "other.json", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made.pop("key").startswith("lanner_")
    assert made.pop("created")
    assert made == {
        "name": "app",
        "models": None,
        "requests_per_minute": 60,
        "tokens_per_minute": None,
        "concurrent": 4,
        "expires": "2099-01-31T00:00:00+00:00",
        "revoked": None,
    }
    assert run("list", "--file", "other.json", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["file"] == "other.json"
    assert [(key["name"], key["valid"], "sha256" in key) for key in listed["keys"]] == [
        ("app", True, False)
    ]
    assert run("revoke", "app", "--file", "other.json", "--json") == 0
    assert json.loads(capsys.readouterr().out)["revoked"]
    assert run("list", "--file", "other.json") == 0
    assert " revoked 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["add"], 2, "name the key: lanner keys add NAME"),
        (["revoke"], 2, "name the key: lanner keys revoke NAME"),
        (["list", "app"], 2, "lanner keys list takes no NAME"),
        (
            ["revoke", "app", "--concurrent", "3"],
            2,
            "--concurrent is an option of 'lanner keys add'",
        ),
        (["list", "--expires", "1d"], 2, "--expires is an option of 'lanner keys add'"),
        (["fly"], 2, "invalid choice: 'fly'"),
        (["add", "a", "--concurrent", "0"], 2, "must be an integer of at least 1, not '0'"),
        (["add", "a", "--models", ","], 2, "must be names of models, separated by commas"),
        (["add", "a", "--expires", "soon"], 2, "'soon' is no time: write for example 90d"),
        (["add", "a b"], 1, "'a b' cannot name a key"),
        (["list"], 1, "the keys in keys.json cannot be read (No such file or directory)"),
        (["revoke", "a"], 1, "there is no file keys.json: name the file of keys with --file"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == status
    assert message in capsys.readouterr().err
    assert not Path("keys.json").exists()


def test_two_keys_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "app") == 0
    assert run("add", "app") == 1
    assert "keys.json has a key 'app' already" in capsys.readouterr().err
    assert len(read_keys(Path("keys.json"))) == 1
