#!/usr/bin/env python3
"""Chooses the hyper-parameters of config/jobs/virtual-particle-sensor.toml by cross-validation.

    python3 data/choose-hyperparameters.py [--xtask PROGRAM]

Sees nothing of the fourth year: the files are cut after each station's 60 days, all before row
26280 of the full data, before anything reads them. These days are cut into three blocks of 20; a
block of every station is held out in turn while the federation of `cargo xtask demo` learns from
the other two. As each station's days lie in another season, the mean over stations is one over the
year. Writes data/beijing-air/hyper-parameters.md, best first. Takes about half an hour.
"""

import argparse
import csv
import gzip
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "data/beijing-air"
JOB = ROOT / "config/jobs/virtual-particle-sensor.toml"
MODEL = ROOT / "config/models/air-mlp.onnx"
TABLE = DATA / "hyper-parameters.md"

# The rows of a shipped file that lie before row 26280 of the full one.
ROWS_BEFORE_TEST = 1440
FOLDS = 3
DEVICES = 12
SEED = 1

# First the step and the number of local epochs, which depend on each other, then the rest at the best of them.
FIRST = [
    {"learning_rate": rate, "local_epochs": epochs} for rate in (0.02, 0.05, 0.1) for epochs in (1, 3, 5)
]
THEN = [{"batch_size": 16}, {"batch_size": 64}, {"weight_decay": 0.0}, {"weight_decay": 1e-3}]
KEYS = ["learning_rate", "local_epochs", "batch_size", "weight_decay"]

HEAD = """# The demo's hyper-parameters, chosen

By `data/choose-hyperparameters.py`, on the stations' 60 days alone: nothing of the fourth year was read. Each row is
the demo's federation, {rounds} rounds, seed {seed}, three times: a third of every station's days is held out in turn. Accuracy
and loss are means over the twelve stations and the three thirds, after the last round; spread is the largest minus the
smallest accuracy of the three. Marked: what the job file says.

| learning rate | local epochs | batch | weight decay | accuracy | spread | loss | |
|---|---|---|---|---|---|---|---|
"""


def write_fold(fold, folder):
    """The stations' days before the test, with a column that says which of them are held out."""
    for source in sorted(DATA.glob("*/*.csv.gz")):
        with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
            rows = [row for _, row in zip(range(ROWS_BEFORE_TEST), csv.DictReader(file))]
        assert len(rows) == ROWS_BEFORE_TEST and rows[-1]["time"] < "2016-02-29", source
        place = folder / source.parent.name / source.name.removesuffix(".gz")
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "part"])
            writer.writeheader()
            for index, row in enumerate(rows):
                held_out = index * FOLDS // ROWS_BEFORE_TEST == fold
                writer.writerow({**row, "part": "test" if held_out else "train"})


def set_key(text, key, value):
    text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
    assert count == 1, f"{JOB} sets {key} {count} times"
    return text


def job_with(point):
    """The job file with a point's settings and our split, waiting for every device."""
    text = JOB.read_text(encoding="utf-8")
    split = '{ column = "part", train = "train", test = "test" }'
    changes = {**point, "split": split, "quorum": DEVICES, "deadline_s": 300}
    for key, value in changes.items():
        text = set_key(text, key, value)
    return text


def present():
    text = JOB.read_text(encoding="utf-8")
    return {key: float(re.search(rf"(?m)^{key} = (\S+)$", text).group(1)) for key in KEYS}


def judge(xtask, folds, point):
    """Accuracy and loss per fold, on the days held out."""
    judged = []
    for data in folds:
        with tempfile.TemporaryDirectory() as scratch:
            job, summary = pathlib.Path(scratch, "job.toml"), pathlib.Path(scratch, "summary.json")
            job.write_text(job_with(point), encoding="utf-8")
            words = ["demo", "--job", job, "--model", MODEL, "--data", data, "--seed", str(SEED), "--summary", summary]
            run = subprocess.run([*xtask, *words], cwd=ROOT, capture_output=True, text=True)
            if run.returncode != 0:
                sys.exit(f"{point}: the demo failed\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
            found = json.loads(summary.read_text(encoding="utf-8"))
        assert not found["missing"], f"{point}: not everybody took part: {found['missing']}"
        judged.append((found["federated"]["accuracy"], found["federated"]["loss"]))
        shutil.rmtree((ROOT / found["model"]).parent)
    return judged


def row_of(point, judged, now):
    accuracies, losses = zip(*judged)
    cells = [f"{point['learning_rate']:g}", f"{point['local_epochs']:g}", f"{point['batch_size']:g}"]
    cells += [f"{point['weight_decay']:g}", f"{statistics.mean(accuracies):.4f}"]
    cells += [f"{max(accuracies) - min(accuracies):.4f}", f"{statistics.mean(losses):.4f}"]
    cells.append("in the job" if all(float(point[key]) == now[key] for key in KEYS) else "")
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xtask", help="a built xtask, in place of cargo xtask")
    arguments = parser.parse_args()
    xtask = [arguments.xtask] if arguments.xtask else ["cargo", "xtask"]
    rounds = re.search(r"(?m)^rounds = (\d+)$", JOB.read_text(encoding="utf-8")).group(1)
    now = present()
    with tempfile.TemporaryDirectory() as scratch:
        folds = [pathlib.Path(scratch, f"fold-{fold}") for fold in range(FOLDS)]
        for fold, folder in enumerate(folds):
            write_fold(fold, folder)
        results = []

        def add(changes):
            point = {"batch_size": 32, "weight_decay": 1e-4, **changes}
            results.append((point, judge(xtask, folds, point)))
            print(row_of(*results[-1], now), flush=True)

        def accuracy(result):
            return statistics.mean(accuracy for accuracy, _ in result[1])

        for changes in FIRST:
            add(changes)
        best = max(results, key=accuracy)[0]
        for changes in THEN:
            add({**best, **changes})
        results.sort(key=accuracy, reverse=True)
    rows = [row_of(*result, now) + "\n" for result in results]
    TABLE.write_text(HEAD.format(rounds=rounds, seed=SEED) + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
