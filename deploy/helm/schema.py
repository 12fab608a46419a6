"""Write the schema of the chart's values.

    .venv/bin/python deploy/helm/schema.py > deploy/helm/lanner/values.schema.json

The settings are those of `lanner serve`, so a program writes the schema. A test holds the file to
this program.
"""

import json
import sys
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from lanner.service.settings import Settings

#: The settings that the chart makes of other values.
MANAGED = (
    *("host", "port", "admin_port", "models", "aliases", "keys"),
    *("tls_certificate", "tls_key", "tls_client_ca", "drain_s", "triton_metrics"),
)
Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {"type": "object"}
_LIST: Schema = {"type": "array", "items": {"type": "object"}}
_NAMED: Schema = {"type": "object", "additionalProperties": _TEXT}
#: A path below a directory: it cannot leave it, and needs no quotes in a shell.
_PATH = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def _whole(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def _matching(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^{pattern}$"}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _settings() -> Schema:
    """Return the schema of the settings that the chart leaves to its user."""
    hints = get_type_hints(Settings)
    names = [one.name for one in fields(Settings) if one.name not in MANAGED]
    return _object(**{name: _of_type(hints[name]) for name in names})


def _of_type(hint: Any) -> Schema:
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _TEXT}
    words = {bool: "boolean", int: "integer", float: "number", str: "string"}
    (kind,) = (one for one in get_args(hint) or (hint,) if one is not type(None))
    return {"type": words[kind]}


def _image() -> Schema:
    return _object(
        repository={**_TEXT, "minLength": 1},
        tag=_TEXT,
        digest=_matching("(sha256:[0-9a-f]{64})?"),
        pullPolicy=_one_of("IfNotPresent", "Always", "Never"),
    )


def _resources() -> Schema:
    quantities = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    return _object(requests=quantities, limits=quantities, claims=_LIST)


def _artifacts() -> Schema:
    one = {
        "oneOf": [
            {**_object(to=_matching(_PATH), s3=_matching("[^ ]+")), "required": ["to", "s3"]},
            {**_object(to=_matching(_PATH), oci=_matching("[^ ]+")), "required": ["to", "oci"]},
        ]
    }
    return _object(
        volume=_ANY,
        fetch={"type": "array", "items": one},
        sha256={
            "type": "object",
            "propertyNames": {"pattern": f"^{_PATH}$"},
            "additionalProperties": _matching("[0-9a-f]{64}"),
        },
        sizeLimit=_TEXT,
        s3=_object(
            image=_TEXT, provider=_TEXT, endpoint=_TEXT, region=_TEXT, credentialsSecret=_TEXT
        ),
        oci=_object(image=_TEXT, credentialsSecret=_TEXT),
        resources=_resources(),
    )


def _autoscaling() -> Schema:
    above_zero = {"type": "number", "exclusiveMinimum": 0}
    return _object(
        by=_one_of("none", "hpa", "keda"),
        metric=_one_of("busy", "queueAge"),
        minReplicas=_whole(0),
        maxReplicas=_whole(1),
        targets=_object(busy={**above_zero, "maximum": 1}, queueAge=above_zero),
        behavior=_object(scaleUp=_ANY, scaleDown=_ANY),
        keda=_object(
            prometheus=_matching("https?://.+"),
            pollingSeconds=_whole(1),
            fallbackReplicas=_whole(1),
            wakeQuery=_TEXT,
            cooldownSeconds=_whole(0),
        ),
    )


def schema() -> Schema:
    """Return the schema of all values."""
    spread = _one_of("ScheduleAnyway", "DoNotSchedule")
    some = {"type": ["integer", "string"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_object(
            image=_image(),
            imagePullSecrets=_LIST,
            replicas=_whole(1),
            models={
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{_NAME}$"},
                "additionalProperties": _matching(f"({_PATH}|(grpcs?|https?)://[^ ]+)"),
            },
            aliases=_NAMED,
            settings=_settings(),
            artifacts=_artifacts(),
            keys=_object(secretName=_TEXT, file=_matching(_NAME)),
            tls=_object(
                secretName=_TEXT,
                clientCa=_object(secretName=_TEXT, key=_matching(_NAME)),
                probeSecretName=_TEXT,
            ),
            resources=_resources(),
            preStopSeconds=_whole(1),
            drainSeconds=_whole(1),
            startSeconds=_whole(10),
            rollingUpdate=_object(maxSurge=some, maxUnavailable=some),
            triton=_object(
                enabled=_FLAG,
                image=_image(),
                repository=_matching(_PATH),
                resources=_resources(),
                sharedMemory=_TEXT,
                graceSeconds=_whole(1),
            ),
            autoscaling=_autoscaling(),
            podDisruptionBudget=_object(enabled=_FLAG, maxUnavailable=some),
            spread=_object(zones=spread, nodes=spread),
            networkPolicy=_object(
                enabled=_FLAG, metricsFrom=_LIST, egress=_LIST, **{"from": _LIST}
            ),
            service=_object(
                type=_one_of("ClusterIP", "NodePort", "LoadBalancer"),
                port=_whole(1, 65535),
                annotations=_NAMED,
            ),
            monitoring=_object(
                serviceMonitor=_FLAG,
                rules=_FLAG,
                labels=_NAMED,
                interval=_matching("[0-9]+(s|m)"),
                keySecret=_object(name=_TEXT, key=_TEXT),
                clientSecretName=_TEXT,
                dashboard=_FLAG,
            ),
            serviceAccount=_object(name=_TEXT, annotations=_NAMED),
            podLabels=_NAMED,
            podAnnotations=_NAMED,
            nodeSelector=_NAMED,
            tolerations=_LIST,
            affinity=_ANY,
            priorityClassName=_TEXT,
            extraEnv=_LIST,
            extraVolumes=_LIST,
            extraVolumeMounts=_LIST,
            **{"global": _ANY},
        ),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")
