"""Swap-in past the swap cache, as from 4.15 to 6.7: a fast device is read straight into a new page.

Nothing holds the slot while it is read. If a second thread faults the page in, stores to it, and it is swapped out to
the same slot again, the first finds its swap pte unchanged and maps what it has read before.
"""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault
from mm_sim.mm import Mm, Vma
from mm_sim.page import SwapSlot
from mm_sim.sched import Steps


class SwapinSynchronous(Kernel):
    __slots__ = ()

    title = "mm, swap: skip swapcache for swapin of synchronous device"
    posted = "commit 0bcac06f27d7, 15 November 2017, Minchan Kim"
    applies_to = "4.15"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {
        "anon threads": ("s390", "x86"),
    }

    def pin_slot(self, entry: SwapSlot) -> None:
        """Where the fix holds the slot; nothing here."""

    def unpin_slot(self, entry: SwapSlot) -> None:
        """Where the fix lets the slot go."""

    def do_swap_page(self, mm: Mm, vma: Vma, address: int, write: bool, entry: SwapSlot) -> Steps[Fault]:
        """do_swap_page(): past the swap cache if the slot is not in it and this pte is its only user."""
        if entry.page is not None or entry.map != 1:
            return (yield from super().do_swap_page(mm, vma, address, write, entry))
        task = self.current
        page = self.alloc_page()
        if page is None:
            return Fault.OOM
        self.pin_slot(entry)
        self.arch.write(page, entry.content)  # swap_readpage()
        self.set_new_page_uptodate(page)
        yield "do_swap_page: read past the swap cache"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        if mm.pte[address] is entry:
            pte = self.mk_pte(page, vma)
            if write:
                pte = self.maybe_mkwrite(pte.set(self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, pte)
            self.lru_cache_add_active(page)
            self.page_add_new_anon_rmap(page, vma, address)
            self.swap_free(entry)
        else:
            self.put_page(page)
        mm.ptl.release(task)
        self.unpin_slot(entry)
        return Fault.DONE
