"""The documentation shows what the tool prints today; what is stale is written anew by `python docs/refresh.py`."""

import json

from docs import refresh
from docs.refresh import PICTURE, figures, figures_of, pages


def test_pages_show_what_the_tool_prints() -> None:
    assert pages("--check") == 0


def test_picture_shows_the_figures_of_today() -> None:
    shown = figures_of(PICTURE)
    assert shown is not None
    assert json.loads(shown) == json.loads(figures())


def test_a_mail_is_one_entry_of_data() -> None:
    numbered = [line for line in (refresh.ROOT / "docs" / "thread.md").read_text().splitlines() if line[:3] == "## "]
    assert numbered == [f"## {n}. {mail.title}" for n, mail in enumerate((*refresh.THREAD, *refresh.BEYOND), 1)]
