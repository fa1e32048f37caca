"""Columns of the state of a tail that is learnt excess by excess: a row of floats and a row of integers."""

from __future__ import annotations

# A tail's floats: its model,
U, LEVEL, XI, SIGMA = 0, 1, 2, 3  # threshold, alarm level (inf without a fit), shape and scale of the latest fit
# and the sums that follow the maximum between fits.
SCALE, TAU, LOGS, INVERSES, SLOPE, TOP = 4, 5, 6, 7, 8, 9
PLAIN = 10  # excess at the plug-in level when LEVEL was found
FIRST, LAST = 11, 12  # where the nodes of the latest posterior lie, NaN before the first
GRID = 13  # step between the values, 0 where they are not rounded
AT = 14  # ξ when LEVEL was found
SPARE = 15  # so many rare values may be learnt now
MARK = 16  # above it lies far out what comes soon after a rare value
CROWD = 17  # ordinary excesses of late, an older one counting less
FLOATS = 18

# A tail's integers:
HEAD, SIZE, TOTAL = 0, 1, 2  # where the ring goes on, values in it, excesses ever learnt
SEEN, STATUS = 3, 4  # observations learnt up to the latest excess; FitStatus of the latest fit
FRESH, FOLLOWED, LOOSE = (
    5,
    6,
    7,
)  # is the fit of the present ring? which sums are valid? excesses since the search for all maxima
IMPUTED = 8  # values in whose place an excess was learnt
SINCE = 9  # excesses learnt since LEVEL was found
RARE, REFUSED = 10, 11  # the observation for which SPARE holds; rare values refused since SPARE was last full
CALM = 12  # the observation up to which what lies far out belongs to the latest rare value
COUNTED = 13  # the observation for which CROWD holds
INTEGERS = 14

NOTHING, MAXIMUM, SHORT = 0, 1, 2  # FOLLOWED: the maximum; or, of a short tail, the mean (LOGS/SIZE) and the largest
