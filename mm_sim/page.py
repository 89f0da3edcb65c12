"""struct page with the frame it describes, page table entries, swap slots.

A frame and its struct page are one object: `content` and the storage key (`key_c`, `key_r`) belong to the
frame, the rest to struct page. Contents are values: 0 for zeroes, GARBAGE for what nobody may rely on, and a
fresh number for each store. May import `fields` and `sched` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from mm_sim.fields import has_fields
from mm_sim.sched import PAGE_LOCK, KernelBug, Lock, Task

if TYPE_CHECKING:
    from mm_sim.address_space import AddressSpace
    from mm_sim.mm import AnonVma

ZERO: Final = 0
GARBAGE: Final = -1

# The bits of a present pte.
WRITE: Final = 1
DIRTY: Final = 2
YOUNG: Final = 4


@final
class Pte:
    """A present page table entry. Immutable and unique per page and bits, so `is` is pte_same()."""

    __slots__ = ("bits", "page")

    def __init__(self, page: Page, bits: int) -> None:
        self.page = page
        self.bits = bits

    def set(self, bits: int) -> Pte:
        """pte_mkwrite, pte_mkdirty, pte_mkyoung."""
        return self.page.ptes[self.bits | bits]

    def clear(self, bits: int) -> Pte:
        """pte_wrprotect, pte_mkclean, pte_mkold."""
        return self.page.ptes[self.bits & ~bits]

    def __repr__(self) -> str:
        flags = "".join(c if self.bits & b else "-" for c, b in (("w", WRITE), ("d", DIRTY), ("y", YOUNG)))
        return f"{self.page!r} {flags}"


@final
class Ptes(dict[int, Pte]):
    """The ptes of a page by their bits, made when they are first asked for."""

    __slots__ = ("page",)

    def __init__(self, page: Page) -> None:
        self.page = page

    def __missing__(self, bits: int) -> Pte:
        self[bits] = pte = Pte(self.page, bits)
        return pte


@has_fields("page")
class Page:
    """A page frame, its struct page and its storage key (include/linux/mm_types.h).

    `count` is page_count(), `mapcount` page_mapcount(), `private` the swap slot of a page in the swap cache,
    `io` what a write under way (PG_writeback) takes to the device, `tag_dirty` PAGECACHE_TAG_DIRTY in the radix tree.
    `buffers` is page_buffers(): None without any (PagePrivate), else BH_Dirty. A page has one buffer; left out are
    several, of which some are dirty, and their reference to the page, which each check of the count subtracts.
    PG_active and the order of the LRU lists are left out: the rule that starts reclaim picks the page. `own` has the
    fields of a patch.
    """

    __slots__ = (
        "PG_anon",
        "PG_dirty",
        "PG_lru",
        "PG_referenced",
        "PG_swapcache",
        "PG_uptodate",
        "PG_writeback",
        "buffers",
        "content",
        "count",
        "index",
        "io",
        "key_c",
        "key_r",
        "lock",
        "mapcount",
        "mapping",
        "migration",
        "own",
        "pfn",
        "private",
        "ptes",
        "tag_dirty",
    )

    def __init__(self, pfn: int) -> None:
        self.pfn = pfn
        self.count = 0
        self.mapcount = 0
        self.PG_anon = False
        self.PG_dirty = False
        self.PG_lru = False
        self.PG_referenced = False
        self.PG_swapcache = False
        self.PG_uptodate = False
        self.PG_writeback = False
        self.lock = Lock(PAGE_LOCK)
        self.mapping: AnonVma | AddressSpace | None = None
        self.tag_dirty = False
        self.buffers: bool | None = None
        self.index = 0
        self.private: SwapSlot | None = None
        self.content = GARBAGE
        self.io = GARBAGE
        self.key_c = False
        self.key_r = False
        self.ptes = Ptes(self)
        self.migration: tuple[Migration, Migration] | None = None
        self.own: dict[str, Any] = {}

    def busy(self) -> bool:
        """What wait_on_page_writeback() waits for."""
        return self.PG_writeback

    def owners(self) -> tuple[Task, ...]:
        return ()

    def make_migration_entry(self, write: bool) -> Migration:
        """make_migration_entry(), include/linux/swapops.h: like a pte unique, so `is` is pte_same()."""
        if self.migration is None:
            self.migration = (Migration(self, False), Migration(self, True))
        return self.migration[write]

    def swap_slot(self) -> SwapSlot:
        """page_private() of a page in the swap cache."""
        if self.private is None:
            raise KernelBug(f"{self!r} is not in the swap cache")
        return self.private

    def __repr__(self) -> str:
        return f"frame{self.pfn}"


class SwapSlot:
    """A slot of a swap area; as a value in a page table it is the swap pte.

    `map` is swap_map[slot], `page` the swap cache's page for it, `content` what is on the device.
    """

    __slots__ = ("content", "map", "number", "page")

    def __init__(self, number: int) -> None:
        self.number = number
        self.map = 0
        self.page: Page | None = None
        self.content = GARBAGE

    def __repr__(self) -> str:
        return f"slot{self.number}"


class SwapInfo:
    """A swap_info_struct: a swap area. From one that is not SWP_WRITEOK no slot is given out."""

    __slots__ = ("SWP_WRITEOK", "slots")

    def __init__(self, slots: list[SwapSlot]) -> None:
        self.SWP_WRITEOK = True
        self.slots = slots


@final
class Migration:
    """A migration entry (include/linux/swapops.h), in place of a pte while its page moves to another frame."""

    __slots__ = ("page", "write")

    def __init__(self, page: Page, write: bool) -> None:
        self.page = page
        self.write = write

    def __repr__(self) -> str:
        return f"migration entry of {self.page!r}"


#: What a page table holds: nothing (pte_none), a present pte, a swap pte, a migration entry.
PteVal: TypeAlias = Pte | SwapSlot | Migration | None
