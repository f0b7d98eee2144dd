"""Every way to damage a small file a little: one byte flipped, or cut to a shorter length, or grown."""

from collections.abc import Iterator

_MASKS = (0x01, 0x20)  # another digit or letter; upper case for lower, a blank for nothing


def damages(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What was done, and the damaged bytes."""
    for place in range(len(data)):
        for mask in _MASKS:
            flipped = bytes([data[place] ^ mask])
            yield f"byte {place} ^ {mask:#x}", data[:place] + flipped + data[place + 1 :]
        yield f"cut to {place}", data[:place]
    for more in (b" ", b"\n", b"\0", b"{}", data):
        yield f"grown by {more[:8]!r}", data + more
