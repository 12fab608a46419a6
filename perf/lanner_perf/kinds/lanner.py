"""A variant of an artifact, run by Lanner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from lanner_perf.loading.loaded import Loaded, Start


def load_lanner(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a variant of an artifact.

    `options` has its ``variant``, and may name an ``engine``, and the ``instruction_set`` that the
    native engine is held to.
    """
    start = Start(options, threads)
    import lanner  # noqa: PLC0415 (its import is what is timed)

    start.imported()
    engine = options.get("engine", "auto")
    model = lanner.load(path, variant=options["variant"], engine=engine, threads=threads)
    if name := options.get("instruction_set"):
        from lanner.artifact.artifact import Artifact  # noqa: PLC0415 (it is imported already)
        from lanner.engines.native.engine import NativeEngine  # noqa: PLC0415 (an extra)

        file, workers = Artifact.open(path).file(model.variant.file), model.runner.workers
        model.runner.engine = NativeEngine(
            file, threads=threads, workers=workers, instruction_set=name
        )
    start.loaded()
    variant, files = model.variant, model.manifest.files
    facts = {
        "engine": model.runner.engine.name,
        "precision": variant.precision,
        "token_budget": model.runner.token_budget,
        "model_bytes": sum(files[name].bytes for name in variant.files),
    }
    runner = model.runner

    def dispatch(text: str) -> tuple[Callable[[], object], Callable[[], object]]:
        from lanner.running.runner import Sequences  # noqa: PLC0415 (it is imported already)

        sequences = Sequences(model.tokenizer.encode([text]))
        tensors = runner.feed([(sequences, [0])])
        bare = partial(runner.engine.run, tensors, is_alone=True)
        return lambda: list(runner.run(sequences, max_sequences=1)), bare

    return start.done(model.encode, facts)._replace(dispatch=dispatch)
