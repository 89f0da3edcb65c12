"""arch/s390/mm/fault.c, arch/x86/mm/fault.c: the page fault interrupt."""

from __future__ import annotations

from typing import Final

from mm_sim.kernel.fork import Fork
from mm_sim.kernel.memory import Fault
from mm_sim.mm import VM_WRITE, Mm
from mm_sim.sched import Steps

# What a process gets whose access cannot be done (include/asm-*/signal.h).
SIGBUS: Final = 7
SIGKILL: Final = 9
SIGSEGV: Final = 11
SIGNALS: Final = {Fault.OOM: SIGKILL, Fault.SIGBUS: SIGBUS}


class PageFault(Fork):
    __slots__ = ()

    def do_page_fault(self, mm: Mm, address: int, write: bool) -> Steps[int]:
        """do_page_fault(), do_exception(): 0 to try the access again, or the signal for the process.

        The access is not performed here: reclaim or another CPU can take the pte away once more before it
        is. The OOM killer is left out: the access is given up.
        """
        task = self.current
        yield "do_page_fault: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        vma = mm.find_vma(address)
        if vma is None or (write and not vma.vm_flags & VM_WRITE):
            mm.mmap_sem.up_read(task)
            return SIGSEGV
        ret = yield from self.handle_pte_fault(mm, vma, address, write)
        mm.mmap_sem.up_read(task)
        yield "do_page_fault: return"
        return SIGNALS[ret] if ret is Fault.OOM or ret is Fault.SIGBUS else 0
