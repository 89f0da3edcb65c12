"""A worked example of a series that adds a system call: madvise(MADV_PAGEOUT), which came with Linux 5.4.

A process asks for one of its own pages to be reclaimed at once. The series brings the kernel function and the rule by
which the drivers call it; judge it with `pytest -n auto --series docs/example_pageout.py`.
"""

from mm_sim.kernel import Kernel
from mm_sim.page import Pte
from mm_sim.sched import Steps
from mm_sim.system import Rule, System
from strategies.rules import mapped


def madvise_pageout(s: System, process: int, page: int) -> Steps[None]:
    """The steps of the rule. Nothing is promised to change in what the process reads, so the ghost is not told."""
    kernel = s.kernel
    assert isinstance(kernel, MadvisePageout)
    yield from kernel.sys_madvise_pageout(page)


class MadvisePageout(Kernel):
    __slots__ = ()

    title = "madvise(MADV_PAGEOUT) on 2.6.26"
    posted = "an example; the system call is commit 1a4e58cce84e of Linux 5.4"
    applies_to = "2.6.26"
    expected = "safe"

    rules = (Rule("madvise_pageout", {"process": "process", "page": "page"}, mapped, madvise_pageout),)

    def sys_madvise_pageout(self, addr: int) -> Steps[None]:
        """madvise_pageout(): under mmap_sem for read, isolate the page and reclaim it whatever its references."""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_madvise_pageout: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        pte = mm.pte[addr]
        if type(pte) is Pte and pte.page.PG_lru:
            yield from self.shrink_inactive_list(pte.page, order=4, wait=False)
        mm.mmap_sem.up_read(task)
