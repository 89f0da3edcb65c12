"""A mend for what the tool found in 2.6.26: a vma that takes in moved pages by merging gets their anon_vma.

copy_vma() may merge a faulted range into a neighbour that was never faulted (is_mergeable_anon_vma() accepts NULL),
and vma_adjust() then leaves the neighbour without an anon_vma: fork does not copy its pages, rmap does not find them.
"""

from mm_sim.address_space import AddressSpace
from mm_sim.kernel import Kernel
from mm_sim.mm import AnonVma, Mm, Vma
from mm_sim.sched import Steps


class MremapAnonVma(Kernel):
    __slots__ = ()

    title = "vma_merge() hands the anon_vma of moved pages on"
    posted = "not posted: a mend for the stored loss of 2.6.26"
    applies_to = "2.6.26"
    expected = "safe"

    def vma_merge(
        self,
        mm: Mm,
        prev: Vma | None,
        addr: int,
        end: int,
        flags: int,
        anon_vma: AnonVma | None,
        file: AddressSpace | None,
        pgoff: int,
    ) -> Steps[Vma | None]:
        merged = yield from super().vma_merge(mm, prev, addr, end, flags, anon_vma, file, pgoff)
        if merged is not None and merged.anon_vma is None and anon_vma is not None:
            merged.anon_vma = anon_vma
            yield from self.anon_vma_link(merged)
        return merged
