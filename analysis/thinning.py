"""Guo–Hall thinning on rows packed 64 pixels to a word.

Bit k of word j in a row is the pixel x = 64·j + k. One pass reads nine neighbours of 64 pixels at
once with shifts, so a pass over 4096² pixels costs milliseconds, not a second.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

_ONE = np.uint64(1)
_TOP = np.uint64(63)
# Rows worked on together: about twenty scratch arrays of a chunk then stay in a core's cache.
_CHUNK_WORDS = 4096


def pack(mask: Bools) -> Words:
    """Pack `mask` (H, W) into words (H + 2, ceil(W / 64) + 2) with a rim of zeros."""
    height, width = mask.shape
    columns = -(-width // 64)
    words = np.zeros((height + 2, columns + 2), np.uint64)
    bits = np.packbits(mask, axis=1, bitorder="little")
    words[1:-1].view(np.uint8)[:, 8 : 8 + bits.shape[1]] = bits
    return words


def unpack(words: Words, width: int) -> Bools:
    """Undo `pack`: return the mask (H, `width`)."""
    inner = np.ascontiguousarray(words[1:-1, 1:-1]).view(np.uint8)
    return np.unpackbits(inner, axis=1, count=width, bitorder="little").view(np.bool_)


def coordinates(words: Words) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (y, x) of the set pixels in row-major order, without unpacking empty words."""
    inner = np.ascontiguousarray(words[1:-1, 1:-1])
    # Flat booleans are found many times faster than pairs of indices.
    held = np.flatnonzero(inner.reshape(-1) != 0)
    bits = np.unpackbits(inner.reshape(-1)[held].view(np.uint8), bitorder="little")
    place = np.flatnonzero(bits.view(np.bool_))
    row, column = np.divmod(held, inner.shape[1])
    word, bit = place >> 6, place & 63
    return row[word], (column[word] << 6) + bit


def clear(words: Words, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> None:
    """Unset the pixels (y, x) in place."""
    bits = np.left_shift(_ONE, (x & 63).astype(np.uint64))
    np.bitwise_and.at(words, (y + 1, (x >> 6) + 1), ~bits)


def fill(words: Words, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> None:
    """Set the pixels (y, x) in place."""
    bits = np.left_shift(_ONE, (x & 63).astype(np.uint64))
    np.bitwise_or.at(words, (y + 1, (x >> 6) + 1), bits)


def thin_words(words: Words, keep: Words | None = None) -> Words:
    """Thin packed `words` by Guo and Hall's two-pass algorithm until nothing changes.

    Parameters
    ----------
    words
        A mask as `pack` makes it; left unchanged.
    keep
        Pixels that are never removed, packed alike.

    Notes
    -----
    Z. Guo and R. W. Hall, Communications of the ACM 32(3), 1989, algorithm A1. Passes are
    parallel: each reads the state that the pass before it left. A chunk of rows is skipped once
    neither it nor its neighbours changed in two passes.
    """
    rows, columns = words.shape
    step = max(8, _CHUNK_WORDS // columns)
    starts = np.arange(1, rows - 1, step)
    current, following = words.copy(), words.copy()
    scratch = np.empty((18, (step + 2) * columns), np.uint64)
    idle = np.zeros(len(starts), np.int64)
    for turn in range(rows * columns * 128):
        near = idle.copy()
        near[1:] = np.minimum(near[1:], idle[:-1])
        near[:-1] = np.minimum(near[:-1], idle[1:])
        active = np.flatnonzero(near < 2)
        if not len(active):
            break
        for chunk in active:
            top = starts[chunk]
            bottom = min(top + step, rows - 1)
            changed = _pass(current, following, keep, top, bottom, turn & 1, scratch)
            idle[chunk] = 0 if changed else idle[chunk] + 1
        current, following = following, current
    return current


def thin(mask: Bools) -> Bools:
    """Return the Guo–Hall skeleton of `mask` (H, W); outside the array is background."""
    return unpack(thin_words(pack(mask)), mask.shape[1])


def _pass(
    source: Words, target: Words, keep: Words | None, top: int, bottom: int, second: int, s: Words
) -> bool:
    """Run one pass over rows `top` to `bottom`; say whether a pixel went."""
    columns = source.shape[1]
    flat = source.reshape(-1)
    first, last = top * columns, bottom * columns
    size = last - first
    long = size + 2 * columns
    around = flat[first - columns : last + columns]
    west, east = s[0][:long], s[1][:long]
    _shift(around, west, east, s[2][:long])
    n, c, e_n = around[:size], around[columns : columns + size], east[:size]
    so, w_n = around[2 * columns :], west[:size]
    e, w = east[columns : columns + size], west[columns : columns + size]
    e_s, w_s = east[2 * columns :], west[2 * columns :]
    gone = _removable(n, e_n, e, e_s, so, w_s, w, w_n, second, s[2:, :size])
    gone &= c
    if keep is not None:
        gone &= ~keep.reshape(-1)[first:last]
    np.bitwise_xor(c, gone, out=target.reshape(-1)[first:last])
    return bool(gone.any())


def _shift(words: Words, west: Words, east: Words, spare: Words) -> None:
    """Fill `west` and `east` with each pixel's left and right neighbour (row rims are zero)."""
    np.left_shift(words, _ONE, out=west)
    np.right_shift(words[:-1], _TOP, out=spare[1:])
    west[1:] |= spare[1:]
    np.right_shift(words, _ONE, out=east)
    np.left_shift(words[1:], _TOP, out=spare[:-1])
    east[:-1] |= spare[:-1]


def _removable(
    p2: Words, p3: Words, p4: Words, p5: Words, p6: Words, p7: Words, p8: Words, p9: Words,
    second: int, s: Words,
) -> Words:  # fmt: skip
    """Return the pixels that this pass may remove; p2 … p9 run clockwise from north."""
    q1, q2, q3, q4 = (np.bitwise_or(p, q, out=o) for p, q, o in
                      ((p3, p4, s[0]), (p5, p6, s[1]), (p7, p8, s[2]), (p9, p2, s[3])))  # fmt: skip
    r1, r2, r3, r4 = (np.bitwise_or(p, q, out=o) for p, q, o in
                      ((p2, p3, s[4]), (p4, p5, s[5]), (p6, p7, s[6]), (p8, p9, s[7])))  # fmt: skip
    # C: the number of 0→1 transitions, which must be one.
    a, b, c, d = s[8], s[9], s[10], s[11]
    for p, q, out in ((p2, q1, a), (p4, q2, b), (p6, q3, c), (p8, q4, d)):
        np.bitwise_not(p, out=out)
        np.bitwise_and(out, q, out=out)
    result: Words = s[12]
    spare, spare2 = s[13], s[14]
    np.bitwise_xor(a, b, out=result)
    result ^= c
    result ^= d
    a &= b
    c &= d
    a |= c
    # N = min(N1, N2) must be 2 or 3: both at least 2, not both 4.
    full = s[9]
    for index, (t1, t2, t3, t4) in enumerate(((q1, q2, q3, q4), (r1, r2, r3, r4))):
        np.bitwise_and(t1, t2, out=spare)
        np.bitwise_and(t3, t4, out=spare2)
        if index:
            full &= spare
            full &= spare2
        else:
            np.bitwise_and(spare, spare2, out=full)
        spare |= spare2
        np.bitwise_or(t1, t2, out=spare2)
        np.bitwise_or(t3, t4, out=s[10])
        spare2 &= s[10]
        spare |= spare2
        result &= spare
    a |= full
    # The side that this pass leaves alone.
    opposite, flank, near = (p5, r1, p4) if second else (p9, r3, p8)
    np.bitwise_not(opposite, out=spare)
    spare |= flank
    spare &= near
    a |= spare
    np.bitwise_not(a, out=a)
    result &= a
    return result
