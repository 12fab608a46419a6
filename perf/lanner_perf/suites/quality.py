"""Quality beside speed: similarity of vectors to the reference's, correlation with scores."""

import numpy as np
from scipy.stats import spearmanr

from lanner.vectors.similarity import Vectors, normalize
from lanner_perf.record.schema import Quality
from lanner_perf.subjects.workloads import Workloads
from lanner_perf.suites.independence import batch_independence, draw_batches
from lanner_perf.suites.inputs import Inputs, Parts
from lanner_perf.suites.roster import Roster
from lanner_perf.suites.suite_plan import SuitePlan


def measure(roster: Roster, inputs: Inputs, plan: SuitePlan) -> Parts:
    """Measure all short texts, and batch independence if the plan has random batches."""
    workloads = inputs.workloads
    roster.tell("quality of the vectors")
    parts: Parts = {}
    reference: Vectors | None = None
    for name, (_, vectors) in roster.each(lambda s: s.encode(workloads.texts["short"])):
        reference = vectors if reference is None else reference  # the reference comes first
        parts[name] = {"quality": quality(vectors, reference, workloads)}
    if plan.random_batches:
        roster.tell("batch independence")
        draw = draw_batches(workloads, plan.random_batches)
        for name, cosine in roster.each(lambda subject: batch_independence(subject, draw)):
            parts[name]["quality"]["batch_independence_cosine"] = cosine
    return {subject.name: parts[subject.name] for subject in roster.present}


def quality(vectors: Vectors, reference: Vectors, workloads: Workloads) -> Quality:
    """Return the quality of the vectors of all short texts, float32 [n, dim]."""
    unit = normalize(vectors)
    cosines = (unit * normalize(reference)).sum(axis=1)
    figures: Quality = {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean())}
    if workloads.pairs is not None and len(set(workloads.pairs.scores)) > 1:
        left, right = np.split(unit, 2)
        gold = workloads.pairs.scores
        figures["spearman"] = float(100 * spearmanr((left * right).sum(axis=1), gold).statistic)
    return figures
