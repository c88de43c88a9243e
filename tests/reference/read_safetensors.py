# SPDX-License-Identifier: MIT
"""Reads a safetensors file with numpy alone and prints one line per tensor:
name, dtype, shape, and the bytes of the array as numpy holds it, in hexadecimal."""
import json
import sys

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "U8": "u1", "BOOL": "?"}
with open(sys.argv[1], "rb") as file:
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    data = file.read()
for name, entry in sorted(header.items()):
    if name == "__metadata__":
        continue
    begin, end = entry["data_offsets"]
    array = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # numpy has none: the upper half of a float
        array = (array.astype("<u4") << 16).view("<f4")
    print(name, array.dtype.name, list(array.shape), array.tobytes().hex())
