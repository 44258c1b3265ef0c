"""The stage that proves the plan: the cut equals masking. Where it does not, another plan is made without the culprits.

Every group was tried before, but with other kept sets. A size that fitted those by chance (the code of a model divides
one by another, say) may not fit these.
"""

from __future__ import annotations

from compressor.core.errors import ContractViolation
from compressor.core.plan import PruningPlan
from compressor.runs.choose import choose
from compressor.runs.coverage import without
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.surgery.check import CutDoesNotRun, Difference, Reference, ShapeChanged
from compressor.surgery.suspects import explain
from compressor.surgery.trial import try_groups

MAX_PLANS = 5


def prove(record: Record, data: Datasets, folder: RunFolder) -> None:
    """Leaves a plan in `record` whose cut equals masking on random inputs, and the difference that was measured.

    Raises:
        ContractViolation: none of several plans holds; nothing may be handed over.
        NothingPrunable: no group is left.
    """
    if record.coverage is None or record.plan is None:
        raise RuntimeError("coverage and plan come before the proof")
    reference = Reference(record.source.module, record.source.inputs)
    for attempt in range(2, MAX_PLANS + 2):
        reason = _fault(record, record.plan, reference)
        if not reason:
            return
        if attempt > MAX_PLANS:
            break
        keep = {name: list(group.keep) for name, group in record.plan.groups.items()}
        cut = [group for group in record.coverage.groups if len(keep.get(group.name, ())) < group.n_channels]
        _, wrong = try_groups(reference, [group for group in cut if group.name in keep], keep=keep)
        if not wrong:
            break
        record.coverage = without(record.coverage, wrong)
        names = ", ".join(group.name for group in wrong[:3]) + (", ..." if len(wrong) > 3 else "")
        record.note(f"A first plan did not hold ({reason}); made another that leaves {names} whole.")
        record.plan, record.budget_met = choose(record, data, folder, attempt)
    raise ContractViolation(
        f"The cut is not what it should be: {reason}. Nothing was written. Please report the model; "
        "--ignore LAYER leaves a layer out."
    )


def _fault(record: Record, plan: PruningPlan, reference: Reference) -> str:
    """What is wrong with the plan; empty if its cut equals masking."""
    if record.coverage is None:
        raise RuntimeError("coverage comes before the proof")
    try:
        found = reference.compare(record.coverage.groups, {name: group.keep for name, group in plan.groups.items()})
    except CutDoesNotRun as error:
        return explain(error.cause).rstrip(".")
    except ShapeChanged as error:
        return str(error)
    record.difference = found
    return "" if found.equal else _differing(found)


def _differing(found: Difference) -> str:
    """By how much, in words."""
    return f"cutting and masking differ by {found.max_rel:.1e} of the outputs' size (tolerance {found.tolerance:.0e})"
