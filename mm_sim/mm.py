"""mm_struct, vm_area_struct and anon_vma. Addresses are numbers of virtual pages.

May import `fields`, `page` and `sched`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mm_sim.fields import NO_FIELDS, Fields, first, has_fields
from mm_sim.page import WRITE, Pte, PteVal
from mm_sim.sched import ANON_VMA_LOCK, PTL, Lock, RwSem

if TYPE_CHECKING:
    from mm_sim.address_space import AddressSpace

VM_READ: Final = 1
VM_WRITE: Final = 2
VM_LOCKED: Final = 4
VM_SHARED: Final = 8


class AnonVma:
    """The anon_vma of mm/rmap.c: the vmas in which its pages may be mapped, in list order."""

    __slots__ = ("head", "lock")

    def __init__(self) -> None:
        self.lock = Lock(ANON_VMA_LOCK)
        self.head: list[Vma] = []


@has_fields("vma")
class Vma:
    """A vm_area_struct: virtual pages [vm_start, vm_end) of one mm; anonymous where `vm_file` is None."""

    __slots__ = ("anon_vma", "own", "vm_end", "vm_file", "vm_flags", "vm_mm", "vm_pgoff", "vm_start")

    def __init__(
        self, mm: Mm, start: int, end: int, flags: int, pgoff: int, vm_file: AddressSpace | None = None
    ) -> None:
        self.vm_mm = mm
        self.vm_start = start
        self.vm_end = end
        self.vm_flags = flags
        self.vm_pgoff = pgoff
        self.vm_file = vm_file
        self.anon_vma: AnonVma | None = None
        self.own = first(mm.fields["vma"])

    def wants_writenotify(self) -> bool:
        """vma_wants_writenotify(), mm/mmap.c: stores to clean pages of the mapping are to fault."""
        file = self.vm_file
        return file is not None and self.vm_flags & _SHARED_WRITE == _SHARED_WRITE and file.accounts_dirty

    def vm_page_prot(self) -> int:
        """vm_page_prot: WRITE where a pte may be writable from a read fault on, else 0 (COW, dirty accounting)."""
        if self.vm_file is None or self.vm_flags & _SHARED_WRITE != _SHARED_WRITE or self.vm_file.accounts_dirty:
            return 0
        return WRITE

    def __repr__(self) -> str:
        flags = "".join(c for c, bit in _FLAGS if self.vm_flags & bit)
        return f"vma[{self.vm_start},{self.vm_end}) {flags} {self.vm_file or ''}".rstrip()


_SHARED_WRITE: Final = VM_SHARED | VM_WRITE
_FLAGS: Final = (("r", VM_READ), ("w", VM_WRITE), ("l", VM_LOCKED), ("s", VM_SHARED))


@has_fields("mm")
class Mm:
    """An mm_struct with its page table, which is one list: one ptl, no upper levels.

    `name` is the task that brought it to life, `tlbs` what the CPUs of its threads have cached. `mm_users` counts the
    tasks and kernel users that keep the address space alive; the last mmput() tears it down. `fields` are those
    that the kernel declares.
    """

    __slots__ = ("fields", "mm_users", "mmap", "mmap_sem", "name", "own", "pte", "ptl", "tlbs")

    def __init__(self, name: int, pages: int, fields: Fields = NO_FIELDS) -> None:
        self.name = name
        self.mm_users = 1
        self.mmap: list[Vma] = []
        self.mmap_sem = RwSem()
        self.ptl = Lock(PTL)
        self.pte: list[PteVal] = [None] * pages
        self.tlbs: list[dict[int, Pte]] = []
        self.fields = fields
        self.own = first(fields["mm"])

    def find_vma(self, addr: int) -> Vma | None:
        """find_vma() and the check that `addr` is inside (mm/mmap.c)."""
        for vma in self.mmap:
            if vma.vm_start <= addr < vma.vm_end:
                return vma
        return None
