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
# Words worked on together: about twenty scratch arrays of a chunk then stay in a core's cache.
_CHUNK_WORDS = 8192
# Words picked one by one cost about twice as much as words in a row.
_SPARSE = 0.4


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


def thin_words(words: Words, keep: Words | None = None, near: Words | None = None) -> Words:
    """Thin packed `words` by Guo and Hall's two-pass algorithm until nothing changes.

    Parameters
    ----------
    words
        A mask as `pack` makes it; left unchanged.
    keep
        Pixels that are never removed, packed alike.
    near
        A skeleton from which `words` differ in a few pixels, packed alike: only around these is
        looked for what can go. None where nothing is known.

    Notes
    -----
    Z. Guo and R. W. Hall, Communications of the ACM 32(3), 1989, algorithm A1. Passes are
    parallel: each reads the state that the pass before it left. A word can change only where it or
    a neighbour changed in one of the two passes before; while these are most, rows are passed
    over whole, and later word by word.
    """
    current = words.copy()
    following = np.empty_like(current)
    scratch = np.empty((18, _CHUNK_WORDS + 2 * words.shape[1]), np.uint64)
    start = words != 0 if near is None else words != near
    changed = [start, start]
    for turn in range(words.size * 128):
        active = np.flatnonzero(_with_neighbours(changed[0] | changed[1]) & (current != 0))
        if not len(active):
            break
        second = turn & 1
        if len(active) > _SPARSE * words.size:
            _sweep(current, following, keep, second, scratch)
            changed = [changed[1], current != following]
            current, following = following, current
        else:
            changed = [changed[1], _touch(current, active, keep, second, scratch)]
    return current


def _with_neighbours(flag: Bools) -> Bools:
    """Return the flagged words (rows, columns) and the eight around each."""
    tall = flag.copy()
    tall[1:] |= flag[:-1]
    tall[:-1] |= flag[1:]
    wide = tall.copy()
    wide[:, 1:] |= tall[:, :-1]
    wide[:, :-1] |= tall[:, 1:]
    return wide


def _sweep(source: Words, target: Words, keep: Words | None, second: int, scratch: Words) -> None:
    """Run one pass over all rows, chunk by chunk."""
    rows, columns = source.shape
    step = max(1, _CHUNK_WORDS // columns)
    target[0] = target[-1] = 0
    for top in range(1, rows - 1, step):
        _pass(source, target, keep, top, min(top + step, rows - 1), second, scratch)


def _touch(
    words: Words, active: npt.NDArray[np.int64], keep: Words | None, second: int, s: Words
) -> Bools:
    """Run one pass over the `active` words in place; say which changed (rows, columns)."""
    flat, columns = words.reshape(-1), words.shape[1]
    changed = np.zeros(words.size, np.bool_)
    removed = []
    for first in range(0, len(active), _CHUNK_WORDS):
        at = active[first : first + _CHUNK_WORDS]
        sides = []
        for row in (at - columns, at, at + columns):
            middle = flat[row]
            west = np.left_shift(middle, _ONE)
            west |= flat[row - 1] >> _TOP
            east = np.right_shift(middle, _ONE)
            east |= flat[row + 1] << _TOP
            sides.append((west, middle, east))
        (w_n, n, e_n), (w, c, e), (w_s, so, e_s) = sides
        gone = _removable(n, e_n, e, e_s, so, w_s, w, w_n, second, s[:, : len(at)])
        gone &= c
        if keep is not None:
            gone &= ~keep.reshape(-1)[at]
        hit = np.flatnonzero(gone)
        removed.append((at[hit], gone[hit]))
    # Only now: every word is judged by what the pass before left.
    for at, gone in removed:
        flat[at] ^= gone
        changed[at] = True
    return changed.reshape(words.shape)


def thin(mask: Bools) -> Bools:
    """Return the Guo–Hall skeleton of `mask` (H, W); outside the array is background."""
    return unpack(thin_words(pack(mask)), mask.shape[1])


def _pass(
    source: Words, target: Words, keep: Words | None, top: int, bottom: int, second: int, s: Words
) -> None:
    """Run one pass over rows `top` to `bottom`."""
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
