"""Lines of capture files, whether they are packed or not: a gz file is recognised by what it begins with."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any

zlib: Any
try:  # the same, and faster
    zlib = import_module("isal.isal_zlib")
except ImportError:  # the jobs of the pipeline run in an image that does not have it
    zlib = import_module("zlib")

MAX_LINE = 64 * 2**20  # bytes: the largest request SageMaker takes is 25 MB, BASE64 and escapes make it longer
MAGIC = b"\x1f\x8b"  # what a gz file begins with; as a line of its own: "the rest of this file is damaged"
_DAMAGED = b"\n" + MAGIC + b"\n"
_PACKED, _INFLATED = 2**17, 2**22  # bytes of a gz file that are unpacked at a time, and what they become at most
_CHUNK = 2**22  # bytes


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""The lines of a file that comes in chunks of any size, unpacked if it is a gz file (by content, not by name).

    A gz file that is damaged or cut gives the lines that were unpacked before it showed, and then one line that `read`
    quarantines.

    >>> list(lines([b"on", b"e\ntwo\nth", b"ree"]))
    [b'one', b'two', b'three']
    """
    for block in blocks(chunks):
        yield from block[:-1].split(b"\n")


def blocks(chunks: Iterable[bytes], least: int = 0) -> Iterator[bytes]:
    r"""The chunks' lines in blocks of at least that many bytes (the last one may have fewer). Every line has its end.

    >>> list(blocks([b"on", b"e\ntwo\nth", b"ree"]))
    [b'one\ntwo\n', b'three\n']
    """
    chunks = iter(chunks)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(MAGIC):
            break
    whole = chain([head], chunks)
    pending: list[bytes] = []
    size = begun = 0  # bytes that are pending: all, and of the line that has not ended
    for chunk in _inflate(whole) if head.startswith(MAGIC) else whole:
        end = chunk.rfind(b"\n") + 1
        if end and size + end >= least:
            yield b"".join([*pending, memoryview(chunk)[:end]])
            chunk = chunk[end:]  # noqa: PLW2901
            pending, size, begun, end = [], 0, 0, 0
        if end or begun <= MAX_LINE:  # of a longer line the rest is dropped: it will not be read anyway
            pending.append(chunk)
            size += len(chunk)
        begun = len(chunk) - end + (0 if end else begun)
    if size:
        rest = b"".join(pending)
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def content(source: Iterable[bytes | str]) -> Iterator[bytes]:
    """The bytes, in chunks, of a binary file, or of lines that may lack their end."""
    if isinstance(source, io.BufferedIOBase):
        while chunk := source.read(_CHUNK):
            yield chunk
        return
    packed: bool | None = None
    for line in source:
        data = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
        if packed is None:
            packed = data.startswith(MAGIC)  # what looks like lines is a gz file, cut where it has their end
        yield data if packed or data.endswith(b"\n") else data + b"\n"


def inflated(source: Iterable[bytes | str]) -> Iterator[bytes | str]:
    """The lines, of the unpacked file if they turn out to be a gz file's."""
    iterator = iter(source)
    for first in iterator:
        if isinstance(first, bytes) and first.startswith(MAGIC):
            yield from lines(chain([first], (chunk for chunk in iterator if isinstance(chunk, bytes))))
        else:
            yield first
            yield from iterator


def _inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a gz file, of all its members; at damage a line that says so.

    What would be unpacked together with the damage is lost with it: nobody knows how much a damaged file held.
    """
    unpacker = zlib.decompressobj(wbits=31)
    begun = True  # whether this is within a member
    for part in (chunk[at : at + _PACKED] for chunk in chunks for at in range(0, len(chunk), _PACKED)):
        data = part if begun else part.lstrip(b"\0")  # files may be padded after their last member
        more = False  # although all of `data` was taken
        while data or more:
            if not begun:
                unpacker, begun = zlib.decompressobj(wbits=31), True
            try:
                content = unpacker.decompress(data, _INFLATED)
            except zlib.error:
                yield _DAMAGED
                return
            yield content
            data, more = unpacker.unconsumed_tail, len(content) == _INFLATED
            if unpacker.eof:
                begun, data, more = False, unpacker.unused_data.lstrip(b"\0"), False
    if begun:
        yield _DAMAGED
