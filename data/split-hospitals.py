#!/usr/bin/env python3
"""Splits the heart-disease table into data/heart-disease, one file per hospital.

    python3 data/split-hospitals.py TABLE.csv

TABLE.csv has the columns in COLUMNS and a column `hospital`.
"""

import csv
import pathlib
import sys

# Hospital in the table: region and device here.
PLACES = {
    "cleveland": ("us", "cleveland"),
    "va": ("us", "va-long-beach"),
    "hungarian": ("europe", "hungarian"),
    "switzerland": ("europe", "switzerland"),
}
# Without `num`, the grade of the disease: y is whether it is above 0.
COLUMNS = [
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak",
    "y", "split",
]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    target = pathlib.Path(__file__).resolve().parent / "heart-disease"
    for hospital, (region, device) in PLACES.items():
        own = [row for row in rows if row["hospital"] == hospital]
        path = target / region / f"{device}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(own)
        train = sum(row["split"] == "train" for row in own)
        print(f"{region}/{device}: {train} rows to train on, {len(own) - train} to test on")


if __name__ == "__main__":
    main()
