"""What the exhaustive search need not visit: preemption points at which no other task need run.

Partial order (Lipton, CACM 1975): what an operation has done since the point before, or does up to the next one,
commutes with all that other tasks can do in between. Exchanging the two leads to the same state by no more steps and
stops, and hides no loss, as the exchanged order is visited. Where that hangs on the state, a function looks at it.

The arguments are about the functions of `Kernel` and the rules in `ARGUED`: one thread for each mm and no swapoff, so
that nobody but its own process makes a pte present or more permissive, and a swap pte keeps its slot. `movers` leaves
out what does not hold for a search: of other rules, of more than one page (a vma may be split, so what comes before
its ptl is not private), or of a series that touches what no argument is about. `test_explore.py` compares the states
and the losses with those of a search that has none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GeneratorType
from typing import Any

from mm_sim.kernel import Kernel
from mm_sim.kernel.vmscan import PAGE_ALLOC_COSTLY_ORDER
from mm_sim.sched import Task

#: Whether no other task need run while this one stands at a point.
Mover = Callable[[Task], bool]


def _locals(task: Task) -> Any:
    """Of the innermost function in which a task stands."""
    steps: Any = task.steps
    while type(steps.gi_yieldfrom) is GeneratorType:
        steps = steps.gi_yieldfrom
    return steps.gi_frame.f_locals


def _always(task: Task) -> bool:
    return True


def _nobody_looks(task: Task) -> bool:
    """In page_remove_rmap(), of a page that others cannot map: it is locked, or nobody has its slot.

    Nobody must ever read the latter; whatever becomes of it, a frame and a slot stay in use as long.
    """
    page = _locals(task)["page"]
    return page.lock.owner is task or (not page.mapcount and (page.private is None or page.private.map == 1))


def _costly(task: Task) -> bool:
    """In reclaim that goes on whatever page_referenced() says."""
    steps: Any = task.steps
    return bool(steps.gi_frame.f_locals["order"] > PAGE_ALLOC_COSTLY_ORDER)


def _out_of_cache(task: Task) -> bool:
    """A reference to a page outside the swap cache is not seen, but when the last other one goes; and if that goes
    while the page is locked, all is the same."""
    return _costly(task) and not _locals(task)["page"].PG_swapcache


def _same_as_before(task: Task) -> bool:
    """A page in the swap cache gets no slot: nothing happens from here to the next point."""
    page = _locals(task)["page"]
    return bool(page.PG_swapcache and page.mapcount)


def _looked_twice(task: Task) -> bool:
    """The look without the ptl is repeated under it; that of page_referenced() matters to order 0."""
    steps: Any = task.steps
    while type(steps.gi_yieldfrom) is GeneratorType:
        steps = steps.gi_yieldfrom
        if steps.gi_code.co_name == "page_referenced":
            return _costly(task)
    return True


def _pte_stays_none(task: Task) -> bool:
    """Only who holds the ptl has emptied the pte for a moment."""
    return _locals(task)["mm"].ptl.owner is None


#: Points by what the argument rests on: nothing but that `swapoff` is not among the rules for the last two.
PRIVATE: dict[str, tuple[str, ...]] = {
    # Before the lock of its own mm a system call has only withdrawn promises.
    "dup_mmap: mmap_sem": (),
    "sys_madvise: mmap_sem": (),
    "sys_mlock: mmap_sem": (),
    "sys_mmap: mmap_sem": (),
    "sys_mprotect: mmap_sem": (),
    "sys_mremap: mmap_sem": (),
    "sys_munmap: mmap_sem": (),
    # From here to the next point, follow_page's, nothing is touched.
    "mlock_fixup: VM_LOCKED set": (),
    # Nobody makes another's pte more permissive, so the access would fault later, too; swapoff does.
    "do_page_fault: mmap_sem": ("swapoff",),
}

#: Points whose argument is about the functions and rules of today.
COMMUTES: dict[str, Mover] = {
    # All before is the mm's own: the vma is out of its list, or has another VM_WRITE, which rmap does not look at.
    "zap_pte_range: ptl": _always,
    "change_pte_range: ptl": _always,
    # The ptes are gone, so rmap finds nothing in the vma, linked or not.
    "free_pgtables: anon_vma lock": _always,
    # What was read without the ptl is read again under it, and if it has changed the fault is as if it began now.
    "handle_pte_fault: pte read": _always,
    "page_check_address: ptl": _looked_twice,
    "do_anonymous_page: ptl": _pte_stays_none,
    # The page is locked and this process has its slot: others cannot share it, nor take it out of the swap cache.
    "do_swap_page: ptl": _always,
    # Locked and unmapped, and the count was 2: others can only look it up, and wait for the lock.
    "pageout: PG_dirty cleared": _always,
    "shrink_inactive_list: page isolated": _out_of_cache,
    "shrink_page_list: references checked": _same_as_before,
    "page_remove_rmap: last mapping gone": _nobody_looks,
    "page_remove_rmap: key tested": _nobody_looks,
    "page_remove_rmap: key cleared": _nobody_looks,
    "page_zap_rmap: mapping gone": _nobody_looks,
}

#: The rules that the arguments of COMMUTES are about.
ARGUED = frozenset(
    "exit fork load madvise_dontneed mlock mmap mprotect munlock munmap pageout_done pageout_failed reclaim resume"
    " store".split()
)


def movers(kernel: type[Kernel], rules: set[str], scope: Any) -> dict[str, Mover]:
    found: dict[str, Mover] = {point: _always for point, unless in PRIVATE.items() if rules.isdisjoint(unless)}
    if rules <= ARGUED and scope.pages == 1:
        found |= COMMUTES
    return found
