from pathlib import Path

import pytest

from lanner.machine import machine
from lanner.machine.cgroups import quota_cores

V1 = "5:cpuset:/other\n4:cpu,cpuacct:{}\n1:name=systemd:/somewhere\n"


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        pytest.param("0::/", {"cpu.max": "max 100000"}, None, id="no quota"),
        pytest.param("0::/", {"cpu.max": "250000 100000"}, 2, id="a container's own group"),
        pytest.param("0::/", {"cpu.max": "50000 100000"}, 1, id="less than a core"),
        pytest.param("0::/", {"cpu.max": "nonsense"}, None, id="damaged"),
        pytest.param("0::/", {"cpu.max": "100000 0"}, None, id="no period"),
        pytest.param(
            "0::/pod/container",
            {"pod/cpu.max": "300000 100000", "pod/container/cpu.max": "max 100000"},
            3,
            id="a quota around the group",
        ),
        pytest.param(
            "0::/pod/container",
            {"pod/cpu.max": "200000 100000", "pod/container/cpu.max": "400000 100000"},
            2,
            id="the smaller quota is around it",
        ),
        pytest.param("0::/../../host", {"cpu.max": "200000 100000"}, 2, id="outside is hidden"),
        pytest.param("", {"cpu.max": "200000 100000"}, 2, id="/proc says nothing"),
        pytest.param(
            V1.format("/docker/1"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            None,
            id="version 1 without a quota",
        ),
        pytest.param(
            V1.format("/docker/1"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            3,
            id="version 1, the container's group is the root",
        ),
        pytest.param(
            V1.format("/pod/1"),
            {
                "cpu/pod/cpu.cfs_quota_us": "200000",
                "cpu/pod/cpu.cfs_period_us": "50000",
                "cpu/pod/1/cpu.cfs_quota_us": "-1",
                "cpu/pod/1/cpu.cfs_period_us": "100000",
            },
            4,
            id="version 1, nested",
        ),
    ],
)
def test_the_smallest_quota_on_the_way_up_holds(
    group: str, files: dict[str, str], cores: int | None, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{group}\n")
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    assert quota_cores(tmp_path) == cores


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert quota_cores(tmp_path) is None


def test_the_quota_bounds_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "quota_cores", lambda: 1)
    assert machine.available_cores() == 1
