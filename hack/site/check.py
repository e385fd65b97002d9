#!/usr/bin/env python3
"""check.py FOLDER: whether a built site opens without a connection: no page loads anything from another host.

Prints the pages that do, and exits with status 1; otherwise prints the number of pages and of entries that the search finds.
"""

import json
import re
import sys
from pathlib import Path

_LOADS = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(https?://[^"'\s>]+)|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|icon))[^>]*href=["']?(https?://[^"'\s>]+)"""
)


def main() -> None:
    """Reads the command line."""
    site = Path(sys.argv[1])
    pages = sorted(site.rglob("*.html"))
    loaded = [
        f"{page}: {address}"
        for page in pages
        for found in _LOADS.findall(page.read_text("utf-8"))
        for address in found
        if address
    ]
    if loaded:
        sys.exit("loaded from other hosts:\n" + "\n".join(loaded))
    entries = json.loads((site / "search" / "search_index.json").read_text("utf-8"))["docs"]
    print(f"{len(pages)} pages in {site}, {len(entries)} entries for the search")


if __name__ == "__main__":
    main()
