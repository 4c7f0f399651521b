#!/usr/bin/env python3
"""Makes data/digits out of the copy that scikit-learn brings:  python3 make-digits.py [FOLDER]

Needs the packages scikit-learn and numpy. With --images it writes folders of PNG files instead of arrays,
which needs pillow too.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

# Devices by region, each with the next of the rows.
REGIONS = {"east": ["desk-1", "desk-2"], "west": ["desk-3", "desk-4"]}
# What a pixel of the source is at most.
INK_MAX = 16


def write_arrays(path, images, labels):
    np.savez_compressed(path.with_suffix(".npz"), images=images[:, None], labels=labels)


def write_images(path, images, labels):
    from PIL import Image

    for number, (image, label) in enumerate(zip(images, labels)):
        folder = path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        grey = np.round(image.astype(float) * 255 / INK_MAX).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{number:04}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "digits")
    parser.add_argument("--images", action="store_true")
    arguments = parser.parse_args()
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    devices = [(region, device) for region, names in REGIONS.items() for device in names]
    for (region, device), rows in zip(devices, np.array_split(np.arange(len(labels)), len(devices))):
        folder = arguments.folder / region
        folder.mkdir(parents=True, exist_ok=True)
        write = write_images if arguments.images else write_arrays
        write(folder / device, images[rows], labels[rows])


main()
