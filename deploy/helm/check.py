"""Validate manifests of Kubernetes strictly: unknown fields are errors, too.

    helm template lanner deploy/helm/lanner | build/deploy/tools/bin/python deploy/helm/check.py

Objects of Kubernetes are compared with the schemas of several of its versions; those of KEDA and of
the Prometheus operator with models of their definitions. It prints a line for each object, and
exits with 1 if one is wrong.
"""

import sys
from importlib import import_module
from typing import Any

import kubernetes_validate
import yaml

#: The oldest version that the chart allows, the newest, and two between them.
VERSIONS = ("1.30", "1.32", "1.35", "1.37")
_MODELS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}


def main() -> int:
    """Check the objects of the standard input."""
    status = 0
    for one in yaml.safe_load_all(sys.stdin):
        if one is None:
            continue
        found = list(problems(one))
        name = f"{one['kind']} {one['metadata']['name']}"
        sys.stdout.write("".join(f"{name}: {line}\n" for line in found) or f"{name}: valid\n")
        status = max(status, bool(found))
    return status


def problems(one: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object."""
    if one["apiVersion"] in _MODELS:
        return of_definition(one)
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {'.'.join(map(str, error.path))}: {error.message}")
    return found


def of_definition(one: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object of a custom resource definition."""
    model = getattr(import_module(_MODELS[one["apiVersion"]]), one["kind"])
    try:
        read = model.model_validate(one)
    except ValueError as error:
        return [" ".join(str(error).split())]
    again = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return [f"{path} is not known" for path in sorted(set(paths(one)) - set(paths(again)))]


def paths(one: Any, before: str = "") -> list[str]:
    """Return the paths of all fields of an object."""
    if isinstance(one, dict):
        return [
            path
            for key, value in one.items()
            for path in (f"{before}.{key}", *paths(value, f"{before}.{key}"))
        ]
    if isinstance(one, list):
        return [path for value in one for path in paths(value, f"{before}[]")]
    return []


if __name__ == "__main__":
    sys.exit(main())
