"""The memory of the simulated machine.

Holds what every kernel module shares: frames, swap slots, address spaces, tasks. May import the data types of
`mm_sim` only. The kernel never reads `marks`: they tell the verdict what was reached.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from mm_sim.address_space import AddressSpace
from mm_sim.arch import Arch
from mm_sim.fields import Fields, declared, first
from mm_sim.mm import Mm
from mm_sim.page import Page, PteVal, SwapInfo, SwapSlot
from mm_sim.sched import TREE_LOCK, Lock, Task


class State:
    """One machine: `frames` page frames, `slots` swap slots, `pages` virtual pages in each address space, `files`.

    `swap_info` has the swap areas, of which the first has the highest priority; `nr_swap_pages` is below zero while
    one is being switched off. `mmlist` has the mms that swapoff is to search, behind init_mm, the list's head.
    `fields` are those of a patch (`mm_sim.fields`), `own` has the kernel's.
    """

    __slots__ = (
        "arch",
        "current",
        "files",
        "frames",
        "free",
        "marks",
        "mmlist",
        "mms",
        "nr_swap_pages",
        "own",
        "pages",
        "slots",
        "swap_info",
        "tasks",
        "total_swap_pages",
        "tree_lock",
    )

    #: Fields of a patch: their first values, by kind of object.
    fields: ClassVar[Fields] = {}

    def __init__(
        self, arch: Arch, tasks: int, pages: int, frames: int, slots: int, areas: int, marks: dict[str, int]
    ) -> None:
        self.arch = arch
        self.pages = pages
        self.frames = [Page(n) for n in range(frames)]
        self.free = self.frames[::-1]
        self.slots = [SwapSlot(n) for n in range(slots)]
        self.nr_swap_pages = self.total_swap_pages = slots
        ends = [slots * n // areas for n in range(areas + 1)]
        self.swap_info = [SwapInfo(self.slots[start:end]) for start, end in pairwise(ends) if start < end]
        self.files: list[AddressSpace] = []
        self.tree_lock = Lock(TREE_LOCK)  # swapper_space.tree_lock
        self.mms: list[Mm] = []
        self.mmlist: list[Mm] = []
        self.tasks = [Task(n) for n in range(tasks)]
        self.current = self.tasks[0]
        self.marks = marks
        fields = declared(type(self))
        self.own = first(fields["kernel"])
        for page in self.frames:
            page.own = first(fields["page"])
        for task in self.tasks:
            task.own = first(fields["task"])

    def mark(self, situation: str) -> None:
        """Count a noteworthy situation."""
        self.marks[situation] = self.marks.get(situation, 0) + 1

    def set_pte_at(self, mm: Mm, addr: int, pte: PteVal) -> None:
        """set_pte_at(). Left out: on s390 ptep_set_access_flags() and ptep_set_wrprotect() empty the pte first.

        Who looks without the ptl may then find none. A fault looks again under the ptl, and gives up what it has
        brought. page_check_address() passes the pte over, by which no record is lost: page_mkclean() goes to shared
        mappings only, where the pte was read-only, and do_wp_page() marks the page dirty after the page lock, as if
        it had come a moment later; page_referenced() finds no pte young on s390; after try_to_unmap() the page is
        still mapped and stays.
        """
        mm.pte[addr] = pte

    def flush_tlb_page(self, mm: Mm, addr: int) -> None:
        """flush_tlb_page(): on every CPU. IPTE on s390, where nothing is cached, has done it already."""
        for tlb in mm.tlbs:
            tlb.pop(addr, None)

    def flush_tlb_mm(self, mm: Mm) -> None:
        """flush_tlb_mm(), and flush_tlb_range() of what is more than any range here."""
        for tlb in mm.tlbs:
            tlb.clear()
