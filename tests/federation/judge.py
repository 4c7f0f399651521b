"""Judges an exported model from outside: ONNX Runtime for Python on the raw CSV files.

usage: judge.py MODEL DATA_FOLDER FIRST_TEST_ROW LABEL LIMIT
Prints, as JSON, per device the test rows, the right answers and the sum of predictions.
"""

import csv
import gzip
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime

PERIODS = {"hour": 24, "month": 12, "wind_dir16": 16}


def number(text):
    return float(text) if text else math.nan


def raw(row, name):
    """The value of a feature by its name in the model: a column, or hour or month of the time."""
    for suffix, wave in (("_sin", math.sin), ("_cos", math.cos)):
        if name.endswith(suffix):
            source = name[: -len(suffix)]
            return wave(2 * math.pi * raw(row, source) / PERIODS[source])
    if name == "hour":
        return float(row["time"][11:13])
    if name == "month":
        return float(row["time"][5:7])
    return number(row[name])


def main():
    model, data, first, label, limit = sys.argv[1:]
    session = onnxruntime.InferenceSession(model)
    names = json.loads(session.get_modelmeta().custom_metadata_map["feature_names"])
    verdicts = {}
    for path in sorted(Path(data).glob("*/*.csv.gz")):
        with gzip.open(path, "rt", newline="") as file:
            rows = [row for row in list(csv.DictReader(file))[int(first) :] if row[label]]
        inputs = np.array([[raw(row, name) for name in names] for row in rows], np.float32)
        answers = np.array([float(row[label]) > float(limit) for row in rows])
        (output,) = session.run(None, {session.get_inputs()[0].name: inputs})
        predicted = output.reshape(-1) > 0
        verdicts[path.name.split(".")[0]] = {
            "examples": len(rows),
            "correct": int((predicted == answers).sum()),
            "positive": int(predicted.sum()),
        }
    print(json.dumps(verdicts))


main()
