"""Independence of a text's vector from its batch, measured through `encode` itself."""

from dataclasses import dataclass

import numpy as np

from lanner.tune.workload import spread
from lanner.vectors.similarity import similarity_pairwise
from lanner_perf.subjects.subject import Subject
from lanner_perf.subjects.workloads import SEED, Workloads

PROBES = 100
#: A batch has as many probes as other texts; half of the others are short, half are mixed.
BATCH_TEXTS = 16
_PROBES_A_BATCH, _OTHERS_OF_A_KIND = BATCH_TEXTS // 2, BATCH_TEXTS // 4


@dataclass(frozen=True)
class Draw:
    """Random batches, the same for every subject.

    Attributes:
        probes: Sentences, encoded alone and in batches.
        batches: For each batch, the rows of its probes and its other texts.
    """

    probes: list[str]
    batches: list[tuple[list[int], list[str]]]


def draw_batches(workloads: Workloads, count: int) -> Draw:
    """Draw this many batches of probes, filled up with other texts."""
    generator = np.random.default_rng(SEED)
    # Each shipped sentence occurs several times.
    probes = spread(list(dict.fromkeys(workloads.texts["short"])), PROBES)
    batches = []
    for _ in range(count):
        size = min(_PROBES_A_BATCH, len(probes))
        rows = generator.choice(len(probes), size, replace=False).tolist()
        others = [
            texts[row]
            for texts in workloads.texts.values()
            for row in generator.integers(0, len(texts), _OTHERS_OF_A_KIND)
        ]
        batches.append((rows, others))
    return Draw(probes, batches)


def batch_independence(subject: Subject, draw: Draw) -> float:
    """Return the smallest cosine between a probe alone and the same probe in one of its batches."""
    alone = np.concatenate([subject.encode([probe])[1] for probe in draw.probes])
    smallest = 1.0
    for rows, others in draw.batches:
        texts = [draw.probes[row] for row in rows] + others
        _, vectors = subject.encode(texts, len(texts))
        cosines = similarity_pairwise(alone[rows], vectors[: len(rows)])
        smallest = min(smallest, float(cosines.min()))
    return smallest
