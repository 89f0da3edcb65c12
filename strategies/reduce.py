"""What the exhaustive search need not visit: points at which no other task need run, and states like others.

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
from inspect import isfunction
from types import GeneratorType
from typing import Any, NamedTuple, cast

import mm_sim
from mm_sim.kernel import Kernel
from mm_sim.kernel.vmscan import PAGE_ALLOC_COSTLY_ORDER
from mm_sim.loss import Step
from mm_sim.mm import VM_LOCKED, VM_WRITE, AnonVma, Mm, Vma
from mm_sim.names import KERNEL_TASKS, KSWAPD, PAGES, READ, READ_WRITE, TASKS, Name
from mm_sim.page import GARBAGE, WRITE, YOUNG, Page, Pte, SwapSlot
from mm_sim.sched import Steps, Task
from mm_sim.system import Rule, Scope, System
from strategies.coverage import changed, functions, names

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
    while the page is locked, all is the same.
    """
    return _costly(task) and not _locals(task)["page"].PG_swapcache


def _out_of_cache_and_old(task: Task) -> bool:
    """And no pte stays young because reclaim comes by while mprotect() has emptied it for a moment."""
    return _out_of_cache(task) and not _locals(task)["self"].arch.pte_young


def _reference_unseen(task: Task) -> bool:
    """The reference matters to who takes the page out of the swap cache because swap is full: the process that gives
    up its last swap pte, while no pte maps it. All else that an exit or a fault does differently because of it, it
    does as well a point later, because of the page lock.
    """
    seen = _locals(task)
    page = seen["page"]
    return not page.PG_swapcache or page.mapcount or page.private.map != 2 or not seen["self"].vm_swap_full()


def _read_unseen(task: Task) -> bool:
    """Who finds the page while it is read in waits for it, and has a swap pte of the slot: the page stays where it is
    in any case. Reclaim finds it locked; only its reference can keep it in the swap cache, if swap is full.
    """
    seen = _locals(task)
    return seen["page"].private.map != 2 or not seen["self"].vm_swap_full()


def _nobody_can_come(task: Task) -> bool:
    """Who wants the page waits for tree_lock, and who would make it dirty has a reference."""
    page = _locals(task)["page"]
    return page.count == 2 and not page.mapcount


def _goes_on_anyway(task: Task) -> bool:
    """As `_stays_as_seen`. Of a page that nobody maps, and that is locked, only what is dirty is looked at: if it is,
    the next point is as good; if not, it is freed, unless somebody has come for it, and then nothing has happened.
    """
    page = _locals(task)["page"]
    if page.PG_swapcache and not page.mapcount:
        return bool(page.PG_dirty or page.count == 2)
    return _stays_as_seen(task)


def _last_vma(task: Task) -> bool:
    """After the last vma all that is left is to unlock the page. If the last mapping goes before that, and reclaim
    goes on, another can come to the page as well and go on from there.
    """
    seen = _locals(task)
    return seen["anon_vma"].head[-1] is seen["vma"]


def _copies_or_not(task: Task) -> bool:
    """Outside the swap cache nothing is known of the old page but its content, which stays while it is shared. If it
    is no longer, the page that is reused instead is like the copy.
    """
    return not _locals(task)["old_page"].PG_swapcache


def _freed_anyway(task: Task) -> bool:
    """Nobody can come to a page that is neither mapped nor in the swap cache."""
    return not any(page.mapcount or page.PG_swapcache for page in _locals(task)["tlb"].pages)


def _flushes_next(task: Task) -> bool:
    """As `_nobody_looks`. On x86 nothing is left to do; who zaps keeps its reference until the TLBs are flushed."""
    zaps = task.op in ("exit", "madvise_dontneed", "mmap", "munmap")
    return _nobody_looks(task) or (zaps and _locals(task)["self"].arch.gathers)


#: Where reclaim stands before it looks at the next vma.
_LOOKS = ("shrink_page_list: try_to_unmap", "try_to_unmap: next vma")


def _looks_at(kswapd: Task) -> Page | None:
    """The page for whose ptes kswapd will look without the ptl with its next step."""
    steps: Any = kswapd.steps
    if steps is None or (kswapd.waits is None and kswapd.point not in _LOOKS):
        return None
    return cast(Page, steps.gi_frame.f_locals["page"])


def _kswapd(task: Task) -> Task:
    return cast(Task, _locals(task)["self"].tasks[KSWAPD])


def _nobody_looks_for_pte(task: Task) -> bool:
    """Reclaim that finds no pte goes on to the next vma. At any other time all that others do commutes."""
    return _looks_at(_kswapd(task)) is not _locals(task)["oldpte"].page


def _nobody_skips_pte(task: Task) -> bool:
    """And if there is no next vma, it might as well find the vma locked."""
    seen = _locals(task)
    return _nobody_looks_for_pte(task) or seen["vma"].anon_vma.head[-1] is seen["vma"]


def _nobody_looks_for_vma(task: Task) -> bool:
    """The child's vma, linked and empty, matters to reclaim that is about to go through the list."""
    return _looks_at(_kswapd(task)) is None


def _loads(task: Task) -> bool:
    return task.op == "load"


def _stays_as_seen(task: Task) -> bool:
    """A page in the swap cache gets no slot: nothing happens from here to the next point. One that gets a slot
    stays locked and becomes dirty, whatever others do to it before or after; who looks at how many slots are free
    has another page, and could have come before the lock.
    """
    seen = _locals(task)
    page = seen["page"]
    return bool(page.mapcount) if page.PG_swapcache else seen["self"].nr_swap_pages > 0


def _faults_anyway(task: Task) -> bool:
    """A look at what is not there does nothing, and rmap does not look at the flag of a vma without a pte. If the pte
    is writable, nobody else has the page; reclaim finds it locked, and PG_dirty is not looked at before munlock().
    """
    seen = _locals(task)
    mm = seen["mm"]
    pte = mm.pte[seen["address"]]
    return bool(pte.bits & WRITE) if type(pte) is Pte else mm.ptl.owner is None


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


#: Points for every search, each with the rules that make an exception.
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
    "shrink_page_list: references checked": _stays_as_seen,
    "page_remove_rmap: last mapping gone": _nobody_looks,
    "page_remove_rmap: key tested": _nobody_looks,
    "page_remove_rmap: key cleared": _nobody_looks,
    "page_zap_rmap: mapping gone": _nobody_looks,
}

#: Points between which and the start of its operation a process has touched nothing that others look at, and points
#: after which comes a lock. Who has to wait at once might as well begin, or go on, later.
UNTOUCHED = frozenset((*PRIVATE, "zap_pte_range: ptl", "change_pte_range: ptl", "handle_pte_fault: pte read"))
LOCK_NEXT = frozenset(
    (
        "copy_pte_range: ptl",
        "do_anonymous_page: ptl",
        "do_swap_page: page lock",
        "do_swap_page: ptl",
        "do_wp_page: page copied",
        "follow_page: ptl",
        "page_check_address: ptl",
        "shrink_page_list: try_to_unmap",
    )
)

#: Points for searches without bounds on steps and stops, whose argument takes more steps: it makes the same states.
#:
#: *Frames* that are taken and not yet mapped: who finds none free does nothing that is seen (the flag of an mlock()
#: without a page is as good as none: see `preludes`). So a frame may as well be taken later, just before it is
#: mapped: there is one then, as others have found theirs beside it.
FREE: dict[str, Mover] = {
    # Until the end of the write the next reclaim does as much as the rest of this one; who finds the page with one
    # reference more would find it under writeback as well, where that is not yet ended.
    "swap_writepage: submitted": _always,
    # With one reference more the page is kept by reclaim, which could as well have come to its look at the count.
    "do_swap_page: page lock": _always,
    # A load that has to fault again is a new one.
    "do_page_fault: return": _loads,
    "shrink_inactive_list: page isolated": _reference_unseen,
    "shrink_page_list: references checked": _goes_on_anyway,
    "remove_mapping: count is 2": _nobody_can_come,
    "follow_page: ptl": _faults_anyway,
    # While the pte is the same, so is the content of the page: nobody else may store to it.
    "do_wp_page: page copied": _always,
    "do_wp_page: ptl dropped": _copies_or_not,
    "read_swap_cache_async: page allocated": _always,
    "swap_readpage: reading": _read_unseen,
    # The process itself has to wait, or takes a frame for nothing; others look at other ptes, or have to wait.
    "try_to_unmap_one: pte cleared": _always,
    "try_to_unmap: next vma": _last_vma,
    # Who has a reference and has seen C set will set PG_dirty, and until it has nobody can clear it.
    "page_remove_rmap: key tested": _always,
    "page_remove_rmap: key cleared": _always,
    "copy_pte_range: ptl": _nobody_looks_for_vma,
    "page_remove_rmap: last mapping gone": _flushes_next,
    "tlb_finish_mmu: TLBs flushed": _freed_anyway,
}

#: Where a store that has faulted is given up: it can be begun again.
FAULTED = "do_page_fault: return"

#: The rules that the arguments of COMMUTES and FREE are about, and what a series may touch in its own functions.
ARGUED = {
    *("exit", "fork", "load", "madvise_dontneed", "mlock", "mmap", "mprotect", "munlock", "munmap"),
    *("pageout_done", "pageout_failed", "reclaim", "resume", "store"),
}


class Normal(NamedTuple):
    """Which normal forms hold in a search: see the functions with their names."""

    forgets: bool = False
    order_0: bool = False
    settles: bool = False
    young: bool = False
    flags: bool = False
    locks: bool = False

    def form(self, system: System) -> None:
        """Put a state in its normal form."""
        if self.forgets:
            forget(system)
        if self.settles:
            settle(system)
        if self.young or self.flags:
            rest(system, self.young, self.flags)

    def covers(self, rule: Rule, arguments: tuple[Any, ...]) -> bool:
        """Whether a step comes to no other states than others do: reclaim of what was used, munlock()."""
        if rule.name == "reclaim":
            return self.order_0 and arguments[3] <= PAGE_ALLOC_COSTLY_ORDER
        return self.locks and rule.name == "munlock"


def movers(kernel: type[Kernel], rules: set[str], scope: Scope, free: bool, normal: Normal) -> dict[str, Mover]:
    """The points at which no other task need run in a search."""
    if scope.files or scope.also:  # others see what a process does to its own mm, or change it
        return {}
    found: dict[str, Mover] = {point: _always for point, unless in PRIVATE.items() if rules.isdisjoint(unless)}
    if argued(kernel, rules, scope):
        found |= COMMUTES
        if free:
            found |= FREE
        if "mprotect" in rules and not normal.young:
            found["shrink_inactive_list: page isolated"] = _out_of_cache_and_old
        if normal.forgets and normal.flags:
            found["change_pte_range: pte cleared"] = _nobody_skips_pte if normal.locks else _nobody_looks_for_pte
    return found


#: What only happens with files and threads.
ELSEWHERE = frozenset(("mkclean_check_address", "shared_write_fault", "wp_page_shared", "zap_end", "zap_file_pte"))
#: What a series may change: how the dirty state of a page is handed on, under the ptl or at its birth; and whether
#: a fault begins anew once it has the page lock, which it may as well ask for later.
CHANGEABLE = ELSEWHERE | {
    *("copy_one_pte", "page_remove_rmap", "pte_modify", "set_new_page_uptodate", "swapin_is_stale"),
    *("vma_merge", "wp_remove_rmap", "zap_remove_rmap"),
}
#: What it may not look at there, as normal forms change it where 2.6.26 does not look.
FORGOTTEN = frozenset(("PG_dirty", "PG_referenced", "YOUNG", "content", "key_r", "pte_young", "vm_flags"))
#: By these it could look at anything.
REFLECTS = frozenset(("eval", "exec", "getattr", "globals", "vars"))


def argued(kernel: type[Kernel], rules: set[str], scope: Scope) -> bool:
    """Whether a search is one that the arguments are about, with all that a patch brings: helpers, rules, fields.

    A preemption point of another's patch is none that an argument is about, whatever it is called.
    """
    differ = changed(kernel, Kernel)
    own = functions(kernel, Kernel)
    used = {name for function in own if function.__name__ not in ELSEWHERE for name in names(function.__code__)}
    others = [function for function in own if not function.__module__.startswith(f"{mm_sim.__name__}.")]
    points = {const for function in others for const in function.__code__.co_consts if isinstance(const, str)}
    return (
        all(isfunction(value) for value in differ.values())
        and {name for name in differ if hasattr(Kernel, name)} <= CHANGEABLE
        and used.isdisjoint(FORGOTTEN | REFLECTS)
        and points.isdisjoint(PRIVATE.keys() | COMMUTES.keys() | FREE.keys())
        and not kernel.rules
        and not getattr(kernel, "fields", None)
        and rules <= ARGUED
        and (scope.pages, scope.files, scope.also) == (1, (), ())
    )


#: What goes along mmlist, or calls what does.
_MMLIST = frozenset(("mmlist", "next_on_mmlist", "sys_swapoff", "try_to_unuse", "unuse_mmlist"))


def goes_along_mmlist(kernel: type[Kernel], rules: set[str]) -> bool:
    """Whether something that can happen may look at mmlist: swapoff, or what a patch brings."""
    used = {name for function in functions(kernel, Kernel) for name in names(function.__code__)}
    return "swapoff" in rules or bool(kernel.rules) or not used.isdisjoint(_MMLIST | REFLECTS)


class Forgetful(Kernel):
    """Pages do not know whether they were used: reclaim of order 0 finds each used, and keeps it.

    Of one that was not, reclaim of a costly order does the same as one of order 0. So every run of a kernel is one of
    this, in a scope with kswapd alone and a costly order. On s390 nothing else looks at PG_referenced and R; on x86
    reclaim clears the young bits of the ptes, which try_to_unmap_one() looks at.
    """

    __slots__ = ()

    def page_referenced(self, page: Page) -> Steps[int]:
        if self.arch.pte_young:
            yield from super().page_referenced(page)
        return 1


#: What looks at who has used a page.
_USED = frozenset(("PG_referenced", "key_r", "page_referenced", "page_test_and_clear_young", "shrink_locked_page"))


def use_is_unseen(kernel: type[Kernel], arch: str, only: dict[str, tuple[Any, ...]]) -> bool:
    """Whether nothing in a search can tell who has used a page, whatever its rules and bounds: then `forget` holds.

    Reclaim of a costly order does the same, step by step, whatever it finds in PG_referenced and R.
    """
    own = functions(kernel, Kernel)
    used = {name for function in own for name in (function.__name__, *names(function.__code__))}
    costly = all(order > PAGE_ALLOC_COSTLY_ORDER for order in only.get("order", (0, 4)))
    return arch == "s390" and costly and not kernel.rules and used.isdisjoint(_USED | REFLECTS)


def forget(system: System) -> None:
    """What `Forgetful` does not look at, nor reclaim of a costly order."""
    for page in system.kernel.frames:
        page.key_r = page.PG_referenced = False


def settle(system: System) -> None:
    """Put a quiet state in a normal form, which can do all that the state can: what it loses, the normal form loses.

    *Nobody's pages*: a page in the swap cache that no page table refers to, nor to its slot, is never read again. It
    takes a frame and a slot until reclaim frees it, which it does at once if it is clean and not under writeback; so
    it can be as if it were. *anon_vma*: between processes that have no page in common, nor can come to one before
    one of them is gone, each may have its own, in which rmap finds the same ptes. A vma without a page needs none.
    *Values*: of a page that is mapped or swapped out matters which of its copies are good, not what is in it. A free
    slot holds nothing to rely on: what is there by chance may not save a page that was not written. *PG_dirty* of a
    page outside the swap cache: it is set when the page comes there, and by what takes it out.

    No run takes more steps or stops: what only writes a page of nobody's is left out, and who looks at fewer vmas has
    fewer points at which nothing has happened, and waits for no lock that matters only to the vmas left out.
    """
    kernel = system.kernel
    for frame in kernel.frames:
        if not frame.PG_swapcache:
            frame.PG_dirty = False
    for slot in kernel.slots:
        if not slot.map:
            slot.content = GARBAGE
        elif slot.map == 1 and (page := slot.page) is not None and page.count == 1 and page.lock.owner is None:
            page.PG_dirty = page.PG_writeback = page.PG_referenced = page.key_c = page.key_r = False
            page.PG_uptodate = True
            page.content = page.io = slot.content = GARBAGE
            page.mapping = None
    busy = []
    for task in kernel.tasks[len(KERNEL_TASKS) :]:
        if task.steps is not None:
            if task.op == "fork":
                return
            busy.append(task.mm)
    for mm in kernel.mms:
        if mm.mmap and (anon := mm.mmap[0].anon_vma) is not None and anon.lock.owner is not None:
            return
    users: dict[Page | SwapSlot, list[Mm]] = {}
    for mm in kernel.mms:
        pte = mm.pte[0]
        if pte is not None:
            if type(pte) is SwapSlot:
                where: Page | SwapSlot = pte
            else:
                assert type(pte) is Pte
                where = pte.page.private or pte.page
            users.setdefault(where, []).append(mm)
        elif mm.mmap and mm not in busy:
            _give_anon_vma(mm.mmap[0], None)
    for where, mms in users.items():
        page = where if isinstance(where, Page) else where.page
        if busy and any(mm in busy for mm in mms):
            continue
        if page is not None and page.mapcount != len([mm for mm in mms if type(mm.pte[0]) is Pte]):
            continue
        value = system.new_value()
        spaces = [system.ghost.spaces[mm] for mm in mms]
        old = spaces[0].values[0]
        if old is None:
            continue
        if type(where) is SwapSlot:
            where.content = value if where.content == old else GARBAGE
        if page is not None:
            page.content = value if page.content == old else GARBAGE
            page.io = value if page.PG_writeback and page.io == old else GARBAGE
            if not page.mapcount:
                page.mapping = None
        for space in spaces:
            space.values[0] = value
        if len(mms) == 1:
            vma = mms[0].mmap[0]
            _give_anon_vma(vma, AnonVma())
            if page is not None and page.mapcount:
                page.mapping = vma.anon_vma


def _give_anon_vma(vma: Vma, anon_vma: AnonVma | None) -> None:
    if vma.anon_vma is not None:
        vma.anon_vma.head.remove(vma)
    vma.anon_vma = anon_vma
    if anon_vma is not None:
        anon_vma.head.append(vma)


def rest(system: System, young: bool, flags: bool) -> None:
    """What a process that does nothing can change by itself at any time, unseen by others, says nothing.

    *Young*: on x86 a load can make a pte young just before it matters: when reclaim, of any order, which makes it old
    first, comes to try_to_unmap_one(). *VM_WRITE* is looked at by mlock() alone, as a new page is mapped read-only
    as well by mprotect() after a load. *VM_LOCKED* matters to reclaim when it looks at a pte: see `preludes`.
    """
    kernel = system.kernel
    steps: Any = kernel.tasks[KSWAPD].steps
    reclaimed = None if steps is None else steps.gi_frame.f_locals["page"]
    for task in kernel.tasks[len(KERNEL_TASKS) :]:
        mm = task.mm
        if mm is None or task.steps is not None:
            continue
        pte = mm.pte[0]
        if young and type(pte) is Pte and pte.page is not reclaimed:
            mm.pte[0] = pte.clear(YOUNG)
        if flags and not (type(pte) is Pte and pte.bits & WRITE):
            system.ghost.spaces[mm].writable[0] = True
            for vma in mm.mmap:
                vma.vm_flags |= VM_WRITE
        if flags:
            for vma in mm.mmap:
                vma.vm_flags &= ~VM_LOCKED


def _present(s: System, process: int, page: int) -> bool:
    mm = s.kernel.tasks[process].mm
    return mm is not None and type(mm.pte[page]) is Pte


def _set_locked(s: System, process: int, page: int) -> None:
    mm = s.kernel.tasks[process].mm
    assert mm is not None
    mm.mmap[0].vm_flags |= VM_LOCKED


#: mlock() of a page that is mapped, by a process that makes its vma read-only for that time if its pte is: all that
#: happens is that the flag is set. munlock() comes right after the next step of another.
LOCK = Rule("mlock", {"process": "process", "page": "page"}, _present, action=_set_locked)


def preludes(system: System, task: Task) -> list[tuple[Step, ...]]:
    """The mlock() calls that make a difference to what `task` does with its next step.

    With mprotect() and munlock() the flag of a mapped page can be set and cleared at any time, if its pte is
    read-only; one that is writable becomes dirty on s390, which only matters in the swap cache; on x86 it has a dirty
    pte, and mprotect(), the lock and a store come to the same. A page that is not mapped can be locked when it is. So
    no state says which vma is locked: an mlock() comes just before reclaim looks at the vma.
    That its process breaks COW inside mlock() is no more than a store which is given up after its fault. If it stands
    in a fault when reclaim looks, the fault came first only if the page lock decided it, which reclaim holds.
    """
    kernel = system.kernel
    if task.name == KSWAPD:
        page = _looks_at(task)
        lockers = [
            other.name
            for other in kernel.tasks[len(KERNEL_TASKS) :]
            if other.mm is not None and other.steps is None and type(pte := other.mm.pte[0]) is Pte
            if pte.page is page and (page.PG_dirty or not pte.bits & WRITE)
        ]
    else:
        pte = None if task.mm is None or task.steps is not None else task.mm.pte[0]
        if type(pte) is not Pte or pte.bits & WRITE or pte.page.lock.owner is None:
            return []
        lockers = [task.name] if kernel.can_share_swap_page(pte.page) else []
    return [(Step(LOCK, (TASKS[name], PAGES[0]), None),) for name in lockers]


def changes_nothing(system: System, rule: Rule, process: int) -> bool:
    """Whether an operation that `rest` and `preludes` are about leads to the state in which it starts.

    mprotect() matters if the pte is writable, or empty for a moment while reclaim looks; mlock() if it makes dirty
    what is in the swap cache, which is the one case in which `preludes` are not all.
    """
    mm = system.kernel.tasks[process].mm
    pte = None if mm is None else mm.pte[0]
    if type(pte) is not Pte:
        return rule.name in ("mlock", "mprotect")
    if rule.name == "mlock":
        return not pte.bits & WRITE or not pte.page.PG_swapcache or pte.page.PG_dirty
    if rule.name == "mprotect":
        return not pte.bits & WRITE and _looks_at(system.kernel.tasks[KSWAPD]) is not pte.page
    return rule.name == "load" and not system.kernel.arch.pte_young


#: Does a step by the name of its rule: False if it cannot happen.
_Do = Callable[[str, tuple[Any, ...]], bool]


def lock(system: System, step: _Do, process: Name, page: Name) -> bool:
    """What LOCK stands for, as steps."""
    mm = system.kernel.tasks[process].mm
    pte = None if mm is None else mm.pte[page]
    if type(pte) is Pte and pte.bits & WRITE:
        return step("mlock", (process, page))
    if not step("mprotect", (process, page, READ)) or not step("mlock", (process, page)):
        return False
    return step("mprotect", (process, page, READ_WRITE))


def undo(system: System, step: _Do, process: Name) -> bool:
    """The steps after which the flags of a vma are as `rest` has them."""
    task = system.kernel.tasks[process]
    if task.mm is None or task.steps is not None or not task.mm.mmap:
        return True
    flags = task.mm.mmap[0].vm_flags
    return (not flags & VM_LOCKED or step("munlock", (process, PAGES[0]))) and (
        bool(flags & VM_WRITE) or step("mprotect", (process, PAGES[0], READ_WRITE))
    )


def waits_at_once(seen_at: str | None, since: list[str], free: bool) -> bool:
    """Whether a task waits for a lock and has touched nothing since it began, or since a point it was seen at.

    In a search without bounds it may have taken a frame.
    """
    if seen_at == "":
        return UNTOUCHED.issuperset(since)
    if since and seen_at in _LOOKS:
        return free and since == ["page_check_address: ptl"]
    if since:
        return free and seen_at == "do_wp_page: ptl dropped" and since == ["do_wp_page: page copied"]
    return seen_at in LOCK_NEXT


def normal(arch: str, rules: set[str], only: dict[str, tuple[Any, ...]], free: bool) -> Normal:
    """The normal forms of a search: `only` has the values of its domains, the others are whole.

    Unless it is `free` of bounds on steps and stops, only those in which no run needs more than in the kernel: so
    reclaim still waits for the locks under which it asks who has used a page.
    """
    costly = [order > PAGE_ALLOC_COSTLY_ORDER for order in only.get("order", (0, 4))]
    forgets = (any(costly) if free else all(costly)) and only.get("reclaimer") == (KSWAPD,)
    loads = free and "load" in rules
    flags = forgets and loads and {"mprotect", "store"} <= rules and ("mlock" in rules) == ("munlock" in rules)
    return Normal(
        forgets=forgets,
        order_0=free and forgets and (arch == "s390" or loads),
        settles=True,
        young=forgets and arch == "x86" and loads,
        flags=flags,
        locks=flags and "mlock" in rules,
    )
