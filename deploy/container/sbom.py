"""Write the bill of materials (CycloneDX 1.6, JSON) of an image: Debian's packages and Python's.

python sbom.py /opt/lanner /var/lib/dpkg/status sbom.cdx.json
"""

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL


def bill(environment: Path, status: Path) -> Bom:
    """Return the bill of an image.

    Args:
        environment: The directory of the Python environment.
        status: The status file of dpkg.
    """
    (packages,) = environment.glob("lib/python3.*/site-packages")
    bom = Bom(components=[*python_packages(packages), *debian_packages(status)])
    lanner = next(one for one in bom.components if one.name == "lanner")
    bom.metadata.component = Component(
        name="lanner-image", version=lanner.version, type=ComponentType.CONTAINER
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


def python_packages(directory: Path) -> Iterator[Component]:
    """Yield the packages of a directory of Python packages."""
    for one in metadata.distributions(path=[str(directory)]):
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        said = one.metadata.get("License-Expression") or one.metadata.get("License") or ""
        yield Component(
            name=name,
            version=one.version,
            type=ComponentType.LIBRARY,
            bom_ref=f"pypi:{name}",
            purl=PackageURL("pypi", None, name, one.version),
            # A whole licence text instead of its name would only repeat the package.
            licenses=[LicenseFactory().make_from_string(said)] if 0 < len(said) < 100 else [],
        )


def debian_packages(status: Path) -> Iterator[Component]:
    """Yield the packages that dpkg has installed."""
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
        yield Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"deb:{name}:{machine}",
            purl=PackageURL("deb", "debian", name, version, {"arch": machine}),
        )


if __name__ == "__main__":
    text = JsonV1Dot6(bill(Path(sys.argv[1]), Path(sys.argv[2]))).output_as_string(indent=1)
    Path(sys.argv[3]).write_text(text, encoding="utf-8")
