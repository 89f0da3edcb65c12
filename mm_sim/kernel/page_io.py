"""mm/page_io.c: swap pages are written and read.

Data leave the frame at submission, the earliest moment at which the device may fetch them. A failed write
leaves garbage on the device. Left out: failing reads, bios that cannot be allocated.
"""

from __future__ import annotations

from mm_sim.kernel.swap_state import SwapState
from mm_sim.page import GARBAGE, Page
from mm_sim.sched import Steps


class PageIo(SwapState):
    __slots__ = ()

    def swap_writepage(self, page: Page) -> Steps[None]:
        """swap_writepage(): entered with the page locked, left with it unlocked."""
        if (yield from self.remove_exclusive_swap_page(page)):
            page.lock.release(self.current)
            return
        self.set_page_writeback(page)
        page.lock.release(self.current)
        yield "swap_writepage: submitted"

    def end_swap_bio_write(self, page: Page, uptodate: bool) -> None:
        """end_swap_bio_write(): the interrupt at the end of the write."""
        page.swap_slot().content = page.io if uptodate else GARBAGE
        if not uptodate:
            self.mark("swap write failed")
            self.SetPageDirty(page)  # set_page_dirty() in the kernel: the page is no file's any more and has no tag
        page.PG_writeback = False

    def swap_readpage(self, page: Page) -> Steps[None]:
        """swap_readpage() and end_swap_bio_read(): channel I/O fills the locked page."""
        yield "swap_readpage: reading"
        self.arch.write(page, page.swap_slot().content)
        self.set_page_uptodate(page)
        page.lock.release(self.current)
