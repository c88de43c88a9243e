#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes exact_moments.json and exact_moments.safetensors: vectors whose mean and variance are hard
to compute in floating point, with the exact answers.

Every number is first rounded to the type in which it is stored; mean and variance of the stored
numbers are then computed in rational arithmetic and rounded once to binary64. The program needs
nothing but Python's standard library and writes the same bytes wherever it runs.
"""

import json
import pathlib
import struct
from decimal import Decimal, localcontext
from fractions import Fraction

FORMATS = {"F32": ("<f", 4), "F64": ("<d", 8)}
UNIT = {"f64": 2.0**-52, "f32": 2.0**-23}
SAFETY = {"f64": 16, "f32": 8}


class SplitMix64:
    """The generator of tests/support/generators.hpp."""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        mask = 2**64 - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def normal(self):
        """Twelve uniforms minus six, as a fraction: no rounding yet."""
        return sum(Fraction(self.bits() >> 11, 2**53) for _ in range(12)) - 6


def stored(value, dtype):
    code, _ = FORMATS[dtype]
    return struct.unpack(code, struct.pack(code, float(value)))[0]


def vectors():
    """(id, dtype, values, tags); values may be fractions."""
    random = SplitMix64(2015)
    steps = [-7, -3, -2, -1, 0, 1, 2, 10]
    for power in (4, 5, 6, 7, 8):
        sixteenths = [10**power + Fraction(step, 16) for step in steps]
        yield f"offset_1e{power}", "F64", sixteenths, ["offset"]
    yield "offset_1e8_integers", "F64", [10**8 + d for d in (4, 7, 13, 16)], ["offset"]
    yield "offset_minus_1e12", "F64", [-(10**12) + d for d in (1, 2, 4, 8, 16)], ["offset"]
    yield "offset_1e6_f32", "F32", [10**6 + Fraction(step, 16) for step in steps], ["offset"]
    yield "offset_2p23_f32", "F32", [2**23 + (5 * i) % 32 for i in range(61)], ["offset"]
    normals = [random.normal() for _ in range(1000)]
    yield "normal_1e4_0.01_f32", "F32", [10**4 + z / 100 for z in normals], ["offset"]
    yield "normal_1e6_1", "F64", [10**6 + z for z in normals], ["offset"]
    yield "outlier_first_f32", "F32", [10**6] + normals[1:], ["outlier"]
    yield "outlier_last_f32", "F32", normals[1:] + [10**6], ["outlier"]
    yield "outlier_first_huge", "F64", [10**15] + normals[1:200], ["outlier"]
    signs = [(-1) ** i for i in range(90)]
    yield "alternating_f32", "F32", [s * 10**6 + i % 7 for i, s in enumerate(signs)], ["cancel"]
    yield "cancelling_sum", "F64", [10**16, 1, -(10**16), 3, 10**16, -(10**16), 7], ["cancel"]
    yield "constant_0.1", "F64", [Fraction(0.1)] * 37, ["constant"]
    yield "constant_third_f32", "F32", [Fraction(1, 3)] * 77, ["constant"]
    yield "constant_1e8", "F64", [10**8] * 1001, ["constant"]
    yield "all_zero", "F32", [0] * 9, ["constant"]
    yield "one_unit_apart", "F64", [1] * 63 + [1 + Fraction(1, 2**52)], ["offset"]
    yield "one_unit_apart_f32", "F32", [1 + Fraction(1, 2**23)] + [1] * 16, ["offset"]
    yield "two_values", "F64", [Fraction(1, 10), Fraction(7, 10)], ["few"]
    yield "two_equal", "F64", [Fraction(1, 10)] * 2, ["few", "constant"]
    yield "three_values", "F32", [1, 2, 4], ["few"]
    yield "huge_1e150", "F64", [i * 10**150 for i in (1, 2, 4, -3)], ["scale"]
    yield "huge_1e38_f32", "F32", [i * 10**37 for i in (11, 20, 30, -30, 7)], ["scale"]
    yield "tiny_1e-150", "F64", [Fraction(i, 10**150) for i in (1, 2, 4, -3, 11)], ["scale"]
    yield "tiny_1e-30_f32", "F32", [Fraction(i * i, 10**30) for i in range(40)], ["scale"]
    yield "subnormal_f32", "F32", [Fraction(i, 2**149) for i in (1, 3, 8, 100, 0)], ["scale"]
    powers = [Fraction(2) ** i for i in range(-40, 41)]
    yield "powers_of_two_up_f32", "F32", powers, ["ordered"]
    yield "powers_of_two_down_f32", "F32", powers[::-1], ["ordered"]
    yield "ramp_5000_f32", "F32", list(range(5000)), ["ordered"]
    yield "cubes", "F64", [i**3 for i in range(-60, 140)], ["ordered"]
    walk, walks = Fraction(0), []
    for z in normals[:600]:
        walk += z
        walks.append(walk)
    yield "random_walk_f32", "F32", walks, ["drift"]


def digits(value):
    with localcontext() as context:
        context.prec = 40
        return str(Decimal(value.numerator) / Decimal(value.denominator))


def tolerances(dtype, values, variance):
    """The bounds of a two-pass algorithm: see README.md in this folder."""
    longest = max(abs(v) for v in values)
    growth = max(1.0, len(values) ** 0.5 / 64) if len(values) > 4096 else 1.0
    bounds = {}
    for name in ("f64", "f32") if dtype == "F32" else ("f64",):
        unit = UNIT[name]
        relative = SAFETY[name] * unit * growth
        bounds[name] = {
            "mean": relative * float(longest),
            "var": relative * float(variance + Fraction(unit) * longest * longest),
        }
    return bounds


def main():
    folder = pathlib.Path(__file__).resolve().parent
    cases, tensors = [], {}
    for name, dtype, wanted, tags in vectors():
        x = [stored(value, dtype) for value in wanted]
        exact = [Fraction(value) for value in x]
        mean = sum(exact) / len(exact)
        squares = sum((value - mean) ** 2 for value in exact)
        variance, sample = squares / len(exact), squares / (len(exact) - 1)
        tensors[f"{name}/x"] = (dtype, [len(x), 1], x)
        tensors[f"{name}/mean.f64"] = ("F64", [1], [float(mean)])
        tensors[f"{name}/var_biased.f64"] = ("F64", [1], [float(variance)])
        tensors[f"{name}/var_unbiased.f64"] = ("F64", [1], [float(sample)])
        bounds = tolerances(dtype, exact, variance)
        cases.append(
            {
                "id": name,
                "layout": "NC",
                "shape": [len(x), 1],
                "channels": 1,
                "input_dtype": dtype,
                "dtypes": list(bounds),
                "exact": {
                    "mean": digits(mean),
                    "var_biased": digits(variance),
                    "var_unbiased": digits(sample),
                },
                "tol": bounds,
                "tags": tags,
            }
        )

    producer = "exact rational arithmetic (Python fractions), rounded once to binary64"
    index = {"schema": 1, "group": "exact_moments", "tensors": "exact_moments.safetensors"}
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    head = ",\n ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in index.items())
    text = f'{{\n {head},\n "producer": {json.dumps(producer)},\n "cases": [\n  {lines}\n ]\n}}\n'
    (folder / "exact_moments.json").write_text(text, encoding="utf-8", newline="\n")

    header, data = {"__metadata__": {"producer": producer}}, b""
    for name in sorted(tensors, key=lambda key: (-FORMATS[tensors[key][0]][1], key)):
        dtype, shape, x = tensors[name]
        begin = len(data)
        data += b"".join(struct.pack(FORMATS[dtype][0], value) for value in x)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    content = struct.pack("<Q", len(encoded)) + encoded + data
    (folder / "exact_moments.safetensors").write_bytes(content)


if __name__ == "__main__":
    main()
