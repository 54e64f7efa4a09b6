"""A long text as rows: blocks whose borders depend on the text around them alone.

So a text that grew at its end, or in its middle, keeps the other blocks as they were, and with them the side
of the split that each is on (content-defined chunking, as rsync's successors do it).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

LEAST_CHARACTERS = 1024
MOST_CHARACTERS = 16_384
ONE_IN = 4  # of the paragraphs beyond the least length, those that end a block


def text_blocks(lines: Iterator[str]) -> Iterator[str]:
    """Blocks of whole paragraphs, some 2,000 characters each; joined, they are the text."""
    block: list[str] = []
    size = 0
    for paragraph in _split_paragraphs(lines):
        block.append(paragraph)
        size += len(paragraph)
        ends = zlib.crc32(paragraph.encode()) % ONE_IN == 0
        if (size >= LEAST_CHARACTERS and ends) or size >= MOST_CHARACTERS:
            yield "".join(block)
            block, size = [], 0
    if block:
        yield "".join(block)


def _split_paragraphs(lines: Iterator[str]) -> Iterator[str]:
    """Lines up to and with the blank lines that follow; a long run without blank lines is cut at lines."""
    paragraph: list[str] = []
    size, blank = 0, False
    for line in lines:
        if paragraph and ((blank and line.strip()) or size >= LEAST_CHARACTERS):
            yield "".join(paragraph)
            paragraph, size = [], 0
        paragraph.append(line)
        size += len(line)
        blank = not line.strip()
    if paragraph:
        yield "".join(paragraph)
