"""Lines of a word and its numbers, as files of word vectors have them, read in a compiled loop."""

from __future__ import annotations

import numpy as np
from numba import njit

POWERS = 10.0 ** np.arange(23)
"""The powers of ten that a double holds exactly."""


@njit(nogil=True, cache=True)
def parse_lines(data, starts, stops, out, ends, powers):
    """Line i is ``data[starts[i]:stops[i]]`` (uint8): a word, and behind single spaces exactly as many numbers as
    ``out[i]`` (float32) takes; ``ends[i]`` is where its word ends. -1 for every other line, and for numbers of more
    digits than a double holds exactly (2^53, powers of ten to 22): these are read to the nearest double, as Python
    does."""
    dimension = out.shape[1]
    for row in range(len(starts)):
        at, stop = starts[row], stops[row]
        while stop > at and (data[stop - 1] == 32 or data[stop - 1] == 13 or data[stop - 1] == 9):
            stop -= 1
        while at < stop and data[at] != 32:
            at += 1
        end = at
        good = end > starts[row]
        for column in range(dimension):
            if at + 1 >= stop or data[at] != 32:
                good = False
                break
            at += 1
            negative = data[at] == 45
            if negative or data[at] == 43:
                at += 1
            mantissa, digits, scale = np.uint64(0), 0, 0
            point = False
            while at < stop:
                byte = data[at]
                if 48 <= byte <= 57:
                    if mantissa >= np.uint64(900719925474099):  # ten times more would pass 2^53
                        good = False
                        break
                    mantissa = mantissa * np.uint64(10) + np.uint64(byte - 48)
                    digits += 1
                    scale -= point
                elif byte == 46 and not point:
                    point = True
                else:
                    break
                at += 1
            if not good or digits == 0:
                good = False
                break
            if at < stop and (data[at] == 101 or data[at] == 69):
                at += 1
                below = at < stop and data[at] == 45
                if at < stop and (below or data[at] == 43):
                    at += 1
                exponent, places = 0, 0
                while at < stop and 48 <= data[at] <= 57 and places < 4:
                    exponent = exponent * 10 + (data[at] - 48)
                    places += 1
                    at += 1
                if places == 0:
                    good = False
                    break
                scale += -exponent if below else exponent
            if scale > 22 or scale < -22:
                good = False
                break
            value = float(mantissa)
            value = value * powers[scale] if scale >= 0 else value / powers[-scale]
            out[row, column] = np.float32(-value if negative else value)
        ends[row] = end if good and at == stop else -1
