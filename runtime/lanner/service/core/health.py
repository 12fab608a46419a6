"""Readiness: a model is ready if it answered a text a moment ago."""

import asyncio
import time
from dataclasses import dataclass, field

from lanner.artifact.heads import InputKind
from lanner.errors import LannerError, ModelChangedError
from lanner.monitoring.record import Record
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.service.metrics import families

_TEXT = "ready"


@dataclass
class Health:
    """Asks models for an answer, and remembers a good answer for a moment.

    Attributes:
        kept_s: Seconds that an answer counts.
        timeout_s: Seconds that an answer may take.
        are_ready: Whether each model answered its last probe, by name.
    """

    kept_s: float = 1.0
    timeout_s: float = 5.0
    are_ready: dict[str, bool] = field(default_factory=dict)
    _answered_s: dict[tuple[str, int], float] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def require(self, *models: ServedModel) -> None:
        """Check that every model answers.

        Raises:
            Refusal: One does not.
        """
        await asyncio.gather(*map(self._require, models))

    def write(self, record: Record) -> None:
        """Write the readiness of each model into a record of metrics."""
        for name, is_ready in self.are_ready.items():
            record.set(families.MODEL_READY, float(is_ready), name)

    async def _require(self, served: ServedModel) -> None:
        key = (served.name, served.version)
        # All callers at the same time share one probe.
        async with self._locks.setdefault(served.name, asyncio.Lock()):
            if time.monotonic() - self._answered_s.get(key, -self.kept_s) < self.kept_s:
                return
            try:
                for way in served.every_way():
                    await asyncio.wait_for(self._ask(way), self.timeout_s)
            except (LannerError, TimeoutError):
                self.are_ready[served.name] = False
                msg = f"the model {served.name} does not answer"
                raise Refusal(Kind.UNAVAILABLE, msg) from None
            self.are_ready[served.name] = True
            self._answered_s = {
                name: at for name, at in self._answered_s.items() if name[0] != served.name
            }
            self._answered_s[key] = time.monotonic()

    async def _ask(self, served: ServedModel) -> None:
        is_pair = served.manifest.head_record.inputs is InputKind.PAIRS
        deadline_s = time.monotonic() + self.timeout_s
        for _ in range(2):
            tokens = await served.tokens([(_TEXT, _TEXT) if is_pair else _TEXT])
            try:
                await served.blocks(tokens.sequences, deadline_s=deadline_s)
            except ModelChangedError:
                await served.renew()
                continue
            return
        msg = "the model is being exchanged"
        raise ModelChangedError(msg)
