"""Makes the polynomials of `functions.h`: ``python src/coefficients.py > src/coefficients.h``.

Each is the polynomial of its degree, or the quotient of two, whose largest error, times a weight, is the
smallest (Remez's exchange algorithm, on a dense grid, with mpmath's numbers of 60 digits). The weight is what
the error does to the relative error of the function that is computed from it. The coefficients are then
rounded; that costs next to nothing, since all of these polynomials are corrections to exact leading terms.
"""

from typing import Any, NamedTuple

import mpmath
from mpmath import mp, mpf

GRID = 151  # points, about a dozen between two neighbouring extrema


class Polynomial(NamedTuple):
    """What is approximated over an interval, by how many coefficients for doubles and floats.

    `below` counts those of a denominator, the first of which is 1.
    """

    name: str
    formula: str
    function: Any
    weight: Any
    start: Any
    end: Any
    count: tuple[int, int]
    below: tuple[int, int] = (1, 1)


def polynomials():
    """All of them, at the precision that is set."""
    half_log2 = mpmath.log(2) / 2 * mpf("1.001")
    quarter_turn = mpf("0.79") ** 2
    log_end = (mpmath.sqrt(2) - 1) ** 4 * mpf("1.001")
    return [
        Polynomial(
            "exp",
            "(e**x - 1 - x) / x**2, |x| <= log(2) / 2",
            lambda x: _series(x, lambda k: 1 / mpmath.factorial(k + 2)),
            abs,
            -half_log2,
            half_log2,
            (11, 5),
        ),
        Polynomial(
            "log",
            "(log((1 + s) / (1 - s)) - 2 s) / s**3 in z = s**2, s <= (sqrt(2) - 1)**2",
            lambda z: _series(z, lambda k: mpf(2) / (2 * k + 3)),
            lambda z: z / 2,
            mpf(0),
            log_end,
            (7, 3),
        ),
        Polynomial(
            "sin",
            "(sin(x) - x) / x**3 in z = x**2, |x| <= 0.79",
            lambda z: _series(z, lambda k: (-1) ** (k + 1) / mpmath.factorial(2 * k + 3)),
            lambda z: z,
            mpf(0),
            quarter_turn,
            (6, 3),
        ),
        Polynomial(
            "cos",
            "(cos(x) - 1 + x**2 / 2) / x**4 in z = x**2, |x| <= 0.79",
            lambda z: _series(z, lambda k: (-1) ** k / mpmath.factorial(2 * k + 4)),
            lambda z: z * z,
            mpf(0),
            quarter_turn,
            (6, 3),
        ),
        Polynomial(
            "tanh",
            "(tanh(x) - x) / x**3 in z = x**2, |x| <= 0.8",
            lambda z: (mpmath.tanh(mpmath.sqrt(z)) - mpmath.sqrt(z)) / mpmath.sqrt(z) ** 3,
            lambda z: z * mpmath.sqrt(z) / mpmath.tanh(mpmath.sqrt(z)) if z else z,
            mpf(0),
            mpf("0.8") ** 2,
            (4, 2),
            (4, 3),
        ),
    ]


def _series(x, coefficient):
    """A power series whose quotients of neighbouring terms are below one half."""
    total, power, k = mpf(0), mpf(1), 0
    while abs(power) > mpf(10) ** -45 or k < 4:
        total += coefficient(k) * power
        power *= x
        k += 1
    return total


def remez(p, count, below):
    """The coefficients of the best polynomials above and below the line, and the largest weighted error.

    Each step solves w (above - f below) / b = +e, -e, +e, ... at the points of the largest errors, where b is
    the denominator of the step before.
    """
    middle, radius = (p.start + p.end) / 2, (p.end - p.start) / 2
    grid = [middle - radius * mpmath.cos(mp.pi * k / GRID) for k in range(GRID + 1)]
    grid = [x for x in grid if p.weight(x) > 0]
    values, weights = [p.function(x) for x in grid], [p.weight(x) for x in grid]
    unknown = count + below - 1
    chosen = [round((len(grid) - 1) * k / mpf(unknown)) for k in range(unknown + 1)]
    divisors = [mpf(1)] * len(grid)
    for _ in range(30):
        rows, right = [], []
        for row, i in enumerate(chosen):
            w, x, f = weights[i] / divisors[i], grid[i], values[i]
            above_line, below_line = ([w * x**k for k in range(n)] for n in (count, below))
            rows.append([*above_line, *(-f * term for term in below_line[1:]), mpf((-1) ** row)])
            right.append(w * f)
        solution = list(mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(right)))
        above, denominator = solution[:count], [mpf(1), *solution[count:unknown]]
        before, divisors = divisors, [_value(denominator, x) for x in grid]
        errors = [
            w * (_value(above, x) / b - f) for x, f, w, b in zip(grid, values, weights, divisors, strict=True)
        ]
        extrema = _alternating(errors, unknown + 1)
        if extrema == chosen and max(abs(b / c - 1) for b, c in zip(before, divisors, strict=True)) < 1e-20:
            break
        chosen = extrema
    return above, denominator, max(map(abs, errors))


def _value(coefficients, x):
    return sum(c * x**k for k, c in enumerate(coefficients))


def _alternating(errors, count):
    """The places of the largest error between each two changes of sign, `count` of them."""
    places = [0]
    for i, error in enumerate(errors):
        if (error > 0) != (errors[places[-1]] > 0):
            places.append(i)
        elif abs(error) > abs(errors[places[-1]]):
            places[-1] = i
    while len(places) > count:
        places.pop(0 if abs(errors[places[0]]) < abs(errors[places[-1]]) else -1)
    if len(places) < count:
        raise ArithmeticError(f"{len(places)} extrema where {count} are needed")
    return places


def constants():
    """Name, formula, value, and into how many parts it is split; bits that the first part is short of."""
    return [
        ("log_of_2", "log(2)", mpmath.log(2), 2, 0),
        ("log2_of_e", "log2(e)", 1 / mpmath.log(2), 2, 0),
        ("log10_of_e", "log10(e)", 1 / mpmath.log(10), 2, 0),
        ("log10_of_2", "log10(2); products of the first with exponents are exact", mpmath.log10(2), 2, 12),
        ("quarter_turn", "pi / 2", mp.pi / 2, 3, 0),
        ("quarter_turns", "2 / pi", 2 / mp.pi, 1, 0),
    ]


def parts(value, count, bits, short):
    """Numbers of so many bits whose sum is as near to a value as that many can be."""
    found = []
    for k in range(count):
        with mp.workprec(bits - short if k == 0 else bits):
            found.append(+value)
        value -= found[-1]
    return found


KINDS = (("double", 53, 17, ""), ("float", 24, 9, "f"))


def table(name, kind, numbers, digits, suffix, remark=""):
    """An array in C."""
    texts = [mpmath.nstr(x, digits, strip_zeros=False, min_fixed=0, max_fixed=0) + suffix for x in numbers]
    return [f"static const {kind} {name}_{kind}[] = {{{remark}", *(f"    {text}," for text in texts), "};"]


def header():
    """The text of `coefficients.h`."""
    lines = [
        "/* Made by coefficients.py, which says how. Lowest powers first. Errors are relative to the",
        "   function, in halves of the last place, and do not include rounding. */",
    ]
    with mp.workdps(60):
        for p in polynomials():
            lines.append(f"\n/* {p.formula} */")
            for (kind, bits, *how), count, below in zip(KINDS, p.count, p.below, strict=True):
                terms, denominator, error = remez(p, count, below)
                remark = f"  /* error {mpmath.nstr(error * mpf(2) ** bits, 2)} */"
                lines += table(f"{p.name}_terms", kind, terms, *how, remark)
                if below > 1:
                    lines += table(f"{p.name}_below", kind, denominator, *how)
        for name, formula, value, count, short in constants():
            lines.append(f"\n/* {formula} */")
            for kind, bits, *how in KINDS:
                lines += table(name, kind, parts(value, count, bits, short), *how)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(header(), end="")
