import importlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from lanner.machine import cpuid, machine


def test_this_machine_is_described() -> None:
    here = machine.this_machine()
    assert here.cores >= 1
    assert here.memory_bytes > 1 << 28
    assert here.cpu
    assert set(here.cpu_flags) <= set(machine.NOTABLE_CPU_FLAGS)
    assert here.to_json()["cpu_flags"] == list(here.cpu_flags)


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        pytest.param(("avx2", "avx_vnni"), True, id="client CPU with VNNI"),
        pytest.param(("avx2", "avx512f", "avx512_vnni"), True, id="server CPU with VNNI"),
        pytest.param(("avx2", "amx_bf16", "amx_int8"), True, id="AMX"),
        pytest.param(("avx2", "avx512f"), False, id="AVX-512 whose byte products saturate"),
        pytest.param((), False, id="nothing"),
    ],
)
def test_int8_is_fast_only_with_vnni_or_amx(flags: tuple[str, ...], fast: bool) -> None:
    assert replace(machine.this_machine(), cpu_flags=flags).has_fast_int8 is fast


def test_the_processor_says_the_same_as_the_kernel() -> None:
    kernel = machine._cpu_name_and_flags()[1]
    # Except under an emulator, the processor may have instructions that the kernel does not list.
    assert kernel.isdisjoint(cpuid.missing_flags())
    assert cpuid.missing_flags() < set(machine.NOTABLE_CPU_FLAGS)


def test_numpy_finds_the_same_instructions() -> None:
    features = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    missing = cpuid.missing_flags()
    for flag in ("avx2", "avx512f", "avx512_vnni"):
        name = flag.upper().replace("_", "")
        if name in features:
            assert (flag in missing) is not features[name]


def test_flags_that_the_processor_has_not_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    # As under `qemu-x86_64 -cpu Haswell`, where /proc/cpuinfo is that of the host machine.
    text = "model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni\n"
    monkeypatch.setattr(Path, "read_text", lambda _self: text)
    monkeypatch.setattr(machine, "missing_flags", lambda: frozenset({"avx512f", "avx512_vnni"}))
    here = machine.this_machine.__wrapped__()
    assert (here.cpu, here.cpu_flags) == ("AMD EPYC", ("avx2",))


def test_where_the_processor_cannot_be_asked_the_kernel_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_args: object, **_options: object) -> None:
        raise PermissionError

    monkeypatch.setattr("lanner.machine.cpuid.mmap.mmap", refused)
    assert cpuid.missing_flags() == frozenset()
    monkeypatch.undo()
    monkeypatch.setattr("lanner.machine.cpuid.platform.machine", lambda: "aarch64")
    assert cpuid.missing_flags() == frozenset()


def test_bf16_is_either_of_two_instruction_sets() -> None:
    def has_bf16(*flags: str) -> bool:
        return replace(machine.this_machine(), cpu_flags=flags).has_bf16

    assert has_bf16("avx512f", "avx512_bf16")
    assert has_bf16("avx2", "amx_bf16")
    assert not has_bf16("avx512f", "avx512_vnni")


def test_cores_are_those_of_the_affinity() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine.available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_versions_are_given_for_what_is_installed() -> None:
    versions = machine.package_versions("numpy", "no-such-package")
    assert list(versions) == ["numpy"]


def test_modules_within_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "inner").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert machine.has_module("json")
    assert machine.has_module("there.inner")
    assert not machine.has_module("there.other")
    assert not machine.has_module("not_there")
    assert not machine.has_module("not_there.inner")
