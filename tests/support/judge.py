"""Judges an exported model from outside: ONNX Runtime for Python on the raw CSV files, arrays or images.

usage: judge.py MODEL DATA_FOLDER HOW
HOW is JSON: {"label": {"column": C}, "split": {"first_row": N}}. The label may have "above" (a
number) or "classes" (texts); the split may be {"column": C, "test": TEXT} instead. For a model that takes
windows, "stride" says how many rows lie between their starts; their answer is that of their last row.
For .npz files: {"label": {"array": A}, "split": {"test_fraction": F}, "inputs": {NAME: A}}.
For folders of grey PNG files by class: {"label": {"classes": [...]}, "split": {"test_fraction": F}, "images": FOLDER}.
Prints, as JSON, per device the truth and the model's outputs of every labelled test example, in order.
"""

import csv
import gzip
import json
import math
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import onnxruntime

PERIODS = {"hour": 24, "month": 12, "wind_dir16": 16}


def number(text):
    return float(text) if text else math.nan


def raw(row, name, categories):
    """The value of a feature by its name in the model: a column, or hour or month of the time."""
    for suffix, wave in (("_sin", math.sin), ("_cos", math.cos)):
        if name.endswith(suffix):
            source = name[: -len(suffix)]
            return wave(2 * math.pi * raw(row, source, categories) / PERIODS[source])
    if name in categories:
        return categories[name].index(row[name]) if row[name] in categories[name] else math.nan
    if name == "hour":
        return float(row["time"][11:13])
    if name == "month":
        return float(row["time"][5:7])
    return number(row[name])


def truth(row, label):
    value = row[label["column"]]
    if "classes" in label:
        return label["classes"].index(value)
    if "above" in label:
        return int(float(value) > label["above"])
    return float(value)


def test_rows(path, split):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    if "column" in split:
        return [row for row in rows if row[split["column"]] == split["test"]]
    return rows[split["first_row"] :]


def labelled(rows, label, length, stride):
    """Lists of so many rows whose last has a label."""
    windows = [rows[start : start + length] for start in range(0, len(rows) - length + 1, stride)]
    return [window for window in windows if window[-1][label["column"]]]


def verdict(truths, outputs):
    return {"truths": truths, "outputs": outputs.reshape(-1).tolist()}


def first_test(count, how):
    return count - int(count * how["split"]["test_fraction"] + 0.5)


def of_arrays(session, path, how):
    arrays = np.load(path)
    labels = arrays[how["label"]["array"]]
    first = first_test(len(labels), how)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    feed = {
        own.name: arrays[how["inputs"][own.name]][first:].astype(kinds[own.type])
        for own in session.get_inputs()
    }
    (outputs,) = session.run(None, feed)
    return verdict(labels[first:].tolist(), outputs)


def predicted(left, up, corner):
    """Paeth's choice among the neighbours of a byte (PNG specification, section 9.4)."""
    distances = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
    return (left, up, corner)[distances.index(min(distances))]


def grey_png(path):
    """The pixels of a grey PNG of eight bits, with nothing but the standard library."""
    content, at, packed = path.read_bytes(), 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, *form = struct.unpack(">IIBBBBB", body)
            assert form == [8, 0, 0, 0, 0], f"{path} is no plain grey PNG"
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    lines, above, rows = zlib.decompress(packed), [0] * width, []
    for start in range(0, height * (width + 1), width + 1):
        kind, row = lines[start], []
        for column, byte in enumerate(lines[start + 1 : start + 1 + width]):
            left, corner = (row[-1], above[column - 1]) if row else (0, 0)
            up = above[column]
            from_neighbours = (0, left, up, (left + up) // 2, predicted(left, up, corner))[kind]
            row.append((byte + from_neighbours) % 256)
        rows.append(row)
        above = row
    return rows


def of_images(session, path, how):
    truths, images = [], []
    for index, name in enumerate(how["label"]["classes"]):
        files = sorted((path / how["images"] / name).glob("*.png"))
        for file in files[first_test(len(files), how) :]:
            truths.append(index)
            images.append([grey_png(file)])
    (own,) = session.get_inputs()
    (outputs,) = session.run(None, {own.name: np.array(images, np.float32)})
    return verdict(truths, outputs)


def main():
    model, data, how = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    session = onnxruntime.InferenceSession(model)
    if "inputs" in how:
        paths = sorted(data.glob("*/*.npz"))
        print(json.dumps({path.stem: of_arrays(session, path, how) for path in paths}))
        return
    if "images" in how:
        paths = sorted(data.glob("*/*"))
        print(json.dumps({path.name: of_images(session, path, how) for path in paths}))
        return
    properties = session.get_modelmeta().custom_metadata_map
    names = json.loads(properties["feature_names"])
    categories = {
        key.split(".", 1)[1]: json.loads(values)
        for key, values in properties.items()
        if key.startswith("categories.")
    }
    window = json.loads(properties["window"]) if "window" in properties else None
    verdicts = {}
    for path in sorted([*data.glob("*/*.csv"), *data.glob("*/*.csv.gz")]):
        length = window["length"] if window else 1
        rows = test_rows(path, how["split"])
        examples = labelled(rows, how["label"], length, how.get("stride", 1))
        inputs = np.array(
            [[[raw(row, name, categories) for name in names] for row in own] for own in examples],
            np.float32,
        )
        feed = {session.get_inputs()[0].name: inputs if window else inputs[:, 0]}
        (outputs,) = session.run(None, feed)
        truths = [truth(own[-1], how["label"]) for own in examples]
        verdicts[path.name.split(".")[0]] = verdict(truths, outputs)
    print(json.dumps(verdicts))


main()
