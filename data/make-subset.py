#!/usr/bin/env python3
"""Cuts data/beijing-air out of the full station files.

    python3 data/make-subset.py FOLDER

FOLDER holds one STATION.csv.gz per station with a row per hour from 2013-03-01T00:00 on, empty
where a value is missing, and at least the columns in COLUMNS. The result is the same, byte for
byte, for the same zlib.
"""

import csv
import gzip
import io
import pathlib
import sys

REGIONS = {
    "city-east": ["Aotizhongxin", "Dongsi", "Nongzhanguan", "Tiantan"],
    "city-west": ["Guanyuan", "Gucheng", "Wanliu", "Wanshouxigong"],
    "north-suburbs": ["Changping", "Dingling", "Huairou", "Shunyi"],
}
COLUMNS = ["time", "PM2.5", "SO2", "NO2", "CO", "TEMP", "PRES", "DEWP", "RAIN", "WSPM", "wind_dir16"]
ROWS = 35064
# The fourth year, 2016-02-29 to 2017-02-28: every station is tested on all of it.
TEST_FROM = 26280
# A reference instrument was lent for 60 days, to each station in turn, a month earlier each.
TRAIN_ROWS = 60 * 24
STEP_BACK = 730


def subset(source, index):
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != ROWS:
        sys.exit(f"{source} has {len(rows)} rows, not {ROWS}")
    train_to = TEST_FROM - STEP_BACK * index
    return rows[train_to - TRAIN_ROWS : train_to] + rows[TEST_FROM:]


def write(path, rows):
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        with gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
            packed.write(text.getvalue().encode())


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    target = pathlib.Path(__file__).resolve().parent / "beijing-air"
    region_of = {station: region for region, stations in REGIONS.items() for station in stations}
    for index, station in enumerate(sorted(region_of)):
        rows = subset(source / f"{station}.csv.gz", index)
        path = target / region_of[station] / f"{station}.csv.gz"
        write(path, rows)
        first, last = rows[0]["time"], rows[TRAIN_ROWS - 1]["time"]
        print(f"{index:2} {station:14} {first} to {last}, {len(rows)} rows, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
