"""struct address_space together with its inode: a file, its page cache and the blocks on its disk.

May import `fields`, `page`, `mm`, `names` and `sched`.
"""

from __future__ import annotations

from mm_sim.fields import NO_FIELDS, Fields, first, has_fields
from mm_sim.mm import Vma
from mm_sim.names import SHM, TMPFS, XFS, Name
from mm_sim.page import ZERO, Page, SwapSlot
from mm_sim.sched import I_MMAP_LOCK, I_MUTEX, TREE_LOCK, Lock


@has_fields("file")
class AddressSpace:
    """A file of `pages` pages: `i_size` counts pages, a partial page is left out.

    `pages` is the page cache, `blocks` what is on the disk, `i_mmap` the vmas that map the file (a list: no order of
    the prio tree is relied upon), `AS_EIO` a write error not yet reported. On tmpfs, and for shared anonymous memory
    (SHM), `swap` is the swap vector of struct shmem_inode_info, `SHMEM_PAGEIN` its flag. `count` counts the vmas and
    system calls that keep the inode alive when it has no name (`i_nlink`) any more.

    `accounts_dirty` is mapping_cap_account_dirty(), `page_mkwrite` says that the filesystem wants to hear of write
    faults: in 2.6.26 XFS does, ext2 does not.
    """

    __slots__ = (
        "AS_EIO",
        "SHMEM_PAGEIN",
        "accounts_dirty",
        "blocks",
        "count",
        "i_mmap",
        "i_mmap_lock",
        "i_mutex",
        "i_nlink",
        "i_size",
        "name",
        "own",
        "page_mkwrite",
        "pages",
        "shmem",
        "swap",
        "tree_lock",
    )

    def __init__(self, name: Name, pages: int, fields: Fields = NO_FIELDS) -> None:
        self.name = name
        self.shmem = name in (TMPFS, SHM)
        self.accounts_dirty = not self.shmem
        self.page_mkwrite = name is XFS
        self.i_nlink = int(name is not SHM)
        self.count = 0
        self.i_size = pages if self.i_nlink else 0
        self.pages: list[Page | None] = [None] * pages
        self.swap: list[SwapSlot | None] = [None] * pages
        self.blocks = [ZERO] * pages
        self.AS_EIO = False
        self.SHMEM_PAGEIN = False
        self.i_mmap: list[Vma] = []
        self.i_mutex = Lock(I_MUTEX)
        self.i_mmap_lock = Lock(I_MMAP_LOCK)
        self.tree_lock = Lock(TREE_LOCK)
        self.own = first(fields["file"])

    def __repr__(self) -> str:
        return self.name.name
