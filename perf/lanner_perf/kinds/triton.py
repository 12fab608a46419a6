"""A model on a Triton server, through Lanner's own client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lanner_perf.loading.loaded import Loaded, Start
from lanner_perf.subjects.totals import Counter, RequestClock


def load_triton(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a client of the server at the URL `path`.

    `options` names the ``model``, and as ``connect`` the further arguments of `lanner.connect` in
    JSON. A failed request is not sent again, because the server itself is measured.
    """
    start = Start(options, threads)
    import lanner  # noqa: PLC0415 (its import is what is timed)
    from lanner.triton.client.transport import Address  # noqa: PLC0415

    address = Address.parse(path)
    import_module(f"lanner.triton.client.{address.protocol}_transport")
    start.imported()
    given: dict[str, Any] = json.loads(options.get("connect", "{}"))
    model = lanner.connect(path, options["model"], retries=0, **given)
    start.loaded()

    files = model.manifest.files
    facts = {
        "engine": "triton",
        "precision": model.variant.precision,
        "token_budget": model.runner.token_budget,
        # A model without weights of its own lists no files.
        "model_bytes": sum(files[name].bytes for name in model.variant.files if name in files),
    }
    transport, clock = model.runner.engine.transport, RequestClock()
    transport.infer = clock.timed(transport.infer)
    method = getattr(model, model.manifest.head_record.methods[0])
    counter = Counter(lambda: transport, options["model"], clock, address.host)

    def encode(inputs: Any, batch_size: int = 32) -> Any:
        return method(inputs, batch_size=batch_size)

    return start.done(encode, facts)._replace(totals=counter)
