"""What the CPU does at a load and a store, and where it records it: S390 (storage keys) and X86 (pte bits).

Stands for include/asm-s390/pgtable.h, include/asm-s390/tlb.h and their x86 counterparts. Every load and store,
by a user or by the kernel, goes through here. May import `page`, `mm` and `sched`.

On x86 each CPU caches translations with their write permission and dirty state (`Task.tlb`), and sees a page table
that another CPU has changed only after a flush. Who is alone in its mm needs none: what another CPU does to its ptes
(reclaim, page_mkclean) is flushed in the same step, and what waits for a flush is done by the thread itself, but for
truncation, of whose pages nothing is promised.
"""

from __future__ import annotations

from mm_sim.mm import Mm
from mm_sim.page import DIRTY, WRITE, YOUNG, Page, Pte
from mm_sim.sched import Task


class Arch:
    """An architecture. `iske`, `sske` and `rrbe` count the storage key instructions executed.

    `record` says in words what `remembers` a store. `pte_dirty` and `pte_young` are the bits that
    pte_mkdirty() and pte_mkyoung() set: 0 where the architecture keeps them elsewhere. `gathers`
    says that zap_pte_range() gives pages back only after the TLBs are flushed, in a batch (struct
    mmu_gather on x86 SMP).
    """

    __slots__ = ("iske", "rrbe", "sske")

    name: str
    record: str
    pte_dirty: int
    pte_young: int
    gathers: bool

    def __init__(self) -> None:
        self.iske = self.sske = self.rrbe = 0

    def load(self, task: Task, addr: int) -> int | None:
        """A user's load: the value, or None for a fault."""
        raise NotImplementedError

    def store(self, task: Task, addr: int, value: int) -> tuple[Page, int] | None:
        """A user's store: the page that took it and what that had before, or None for a fault."""
        raise NotImplementedError

    def write(self, page: Page, value: int) -> None:
        """The kernel zeroes or copies a page, or channel I/O reads data into it."""
        raise NotImplementedError

    def page_test_dirty(self, page: Page) -> bool:
        return False

    def page_clear_dirty(self, page: Page) -> None:
        return None

    def page_test_and_clear_young(self, page: Page) -> bool:
        return False

    def remembers(self, page: Page, mms: list[Mm]) -> bool:
        """Whether hardware remembers a store to `page` where the kernel will still look; counts nothing."""
        raise NotImplementedError


class S390(Arch):
    """Storage keys: change bit C and reference bit R belong to the frame; a pte is never dirty nor young.

    IPTE invalidates a pte and every CPU's TLB entry for it at once, so there is no TLB to model. Left
    out: KVM guests' page status tables, and the C and R bits' effect on fetch protection.
    """

    __slots__ = ()

    name = "s390"
    record = "the change bit of its storage key"
    pte_dirty = 0
    pte_young = 0
    gathers = False

    def load(self, task: Task, addr: int) -> int | None:
        assert task.mm is not None
        pte = task.mm.pte[addr]
        if type(pte) is not Pte:
            return None
        page = pte.page
        page.key_r = True
        return page.content

    def store(self, task: Task, addr: int, value: int) -> tuple[Page, int] | None:
        assert task.mm is not None
        pte = task.mm.pte[addr]
        if type(pte) is not Pte or not pte.bits & WRITE:
            return None
        page = pte.page
        before = page.content
        page.content = value
        page.key_c = page.key_r = True
        return page, before

    def write(self, page: Page, value: int) -> None:
        page.content = value
        page.key_c = page.key_r = True

    def page_test_dirty(self, page: Page) -> bool:
        """ISKE: look at C."""
        self.iske += 1
        return page.key_c

    def page_clear_dirty(self, page: Page) -> None:
        """SSKE with the default key: clears C, and R with it."""
        self.sske += 1
        page.key_c = page.key_r = False

    def page_test_and_clear_young(self, page: Page) -> bool:
        """RRBE: clears R, leaves C; the condition code tells the old R."""
        self.rrbe += 1
        young = page.key_r
        page.key_r = False
        return young

    def remembers(self, page: Page, mms: list[Mm]) -> bool:
        """In the key, which is looked at when the last mapping goes."""
        return page.key_c and page.mapcount > 0


class X86(Arch):
    """Dirty and accessed bits in each pte, set by the CPU at an access through it.

    A store through a cached translation that is clean walks the page table, to set the dirty bit there. A cached
    translation stays until it is flushed, or faults: to evict it earlier only makes the CPU look at the page table.
    """

    __slots__ = ()

    name = "x86"
    record = "the dirty bit of a pte"
    pte_dirty = DIRTY
    pte_young = YOUNG
    gathers = True

    def load(self, task: Task, addr: int) -> int | None:
        mm, tlb = task.mm, task.tlb
        assert mm is not None
        if tlb is not None and addr in tlb:
            return tlb[addr].page.content
        pte = mm.pte[addr]
        if type(pte) is not Pte:
            return None
        mm.pte[addr] = pte = pte.page.ptes[pte.bits | YOUNG]
        if tlb is not None:
            tlb[addr] = pte
        return pte.page.content

    def store(self, task: Task, addr: int, value: int) -> tuple[Page, int] | None:
        mm, tlb = task.mm, task.tlb
        assert mm is not None
        if tlb is not None and addr in tlb and tlb[addr].bits & (DIRTY | WRITE) == DIRTY | WRITE:
            page = tlb[addr].page
            before = page.content
            page.content = value
            return page, before
        pte = mm.pte[addr]
        if type(pte) is not Pte or not pte.bits & WRITE:
            if tlb is not None:
                tlb.pop(addr, None)
            return None
        page = pte.page
        mm.pte[addr] = pte = page.ptes[pte.bits | DIRTY | YOUNG]
        if tlb is not None:
            tlb[addr] = pte
        before = page.content
        page.content = value
        return page, before

    def write(self, page: Page, value: int) -> None:
        page.content = value

    def remembers(self, page: Page, mms: list[Mm]) -> bool:
        """In a pte."""
        ptes = (pte for mm in mms for pte in mm.pte)
        return any(type(pte) is Pte and pte.page is page and pte.bits & DIRTY for pte in ptes)


ARCHES: dict[str, type[Arch]] = {arch.name: arch for arch in (S390, X86)}
