# SPDX-License-Identifier: MIT
"""python3 to_safetensors.py IN OUT: IN is .npz, .h5 (needs h5py), .pt or .pth (needs torch) or the
prefix of a TensorFlow checkpoint (needs tensorflow). Names stay; no program in a pickle is run."""
import json
import sys

import numpy


def read(path):
    if path.endswith(".npz"):
        return dict(numpy.load(path, allow_pickle=False))
    if path.endswith((".h5", ".hdf5")):
        import h5py
        sets = []
        h5py.File(path, "r").visititems(lambda name, item: sets.append((name, item)))
        return {name: item[()] for name, item in sets if hasattr(item, "shape")}
    if path.endswith((".pt", ".pth")):
        import torch
        state = torch.load(path, "cpu", weights_only=True)
        state = state.get("state_dict", state.get("model", state))
        return {name: t.numpy() for name, t in state.items() if torch.is_tensor(t)}
    import tensorflow
    reader = tensorflow.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def write(path, arrays):  # names, dtypes, shapes and places as JSON, then the bytes of all arrays
    dtypes = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "u1": "U8"}
    header, data = {}, b""
    for name, array in arrays.items():
        kind = numpy.asarray(array).dtype.str[1:]
        if kind in dtypes:
            end = len(data)
            data += numpy.asarray(array).astype("<" + kind).tobytes()
            header[name] = {"dtype": dtypes[kind], "shape": numpy.shape(array), "data_offsets": [end, len(data)]}
    text = json.dumps(header).encode()
    open(path, "wb").write(len(text).to_bytes(8, "little") + text + data)


write(sys.argv[2], read(sys.argv[1]))
