"""The fix of January 2009 for an fsync() that ends early: nr_to_write does not count for a synchronous write-back.

2.6.26 sets it to twice the number of pages in the page cache. Pages that are added and dirtied meanwhile, before the
ones that fsync() has to write, use it up, and fsync() reports success without those.
"""

from mm_sim.kernel import Kernel


class FsyncIntegrity(Kernel):
    __slots__ = ()

    title = "mm: write_cache_pages integrity fix"
    posted = "commit 05fe478dd04e, 6 January 2009, Nick Piggin"
    applies_to = "2.6.28"
    expected = "safe"

    def written_enough(self, nr_to_write: int, sync: bool) -> bool:
        return not sync and super().written_enough(nr_to_write, sync)
