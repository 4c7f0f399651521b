"""PyTorch's side of `cargo xtask bench train`: eager training steps on one thread.

Reads `network batch` from standard input, one a line, and answers each with a line of JSON: the median
time of a step in microseconds, or null where PyTorch refuses, as it does to normalise a batch of one
number. With `--memory network batch` it takes some steps and prints the peak of
its resident memory in bytes. The networks are those of the folder named first.
"""

import json
import statistics
import sys
import time

sys.path.insert(0, sys.argv[1])

import torch
from torch import nn

from networks import NETWORKS

torch.set_num_threads(1)
REPEATS, SPAN_S = 5, 0.1


def stepper(name, batch):
    net = NETWORKS[name]()
    net.module.train()
    x = torch.randint(0, net.high, (batch, *net.dims)) if net.high else torch.randn(batch, *net.dims)
    t = torch.randint(0, net.classes, (batch,)) if net.classes else torch.randn_like(net.module(x))
    objective = nn.CrossEntropyLoss() if net.classes else nn.MSELoss()
    optimizer = torch.optim.SGD(net.module.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        objective(net.module(x), t).backward()
        optimizer.step()

    return step


def median_us(name, batch):
    step = stepper(name, batch)
    start = time.perf_counter()
    for _ in range(3):
        step()
    count = max(1, int(SPAN_S / ((time.perf_counter() - start) / 3)))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(count):
            step()
        times.append((time.perf_counter() - start) / count)
    return statistics.median(times) * 1e6


def peak_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024


if sys.argv[2:3] == ["--memory"]:
    step = stepper(sys.argv[3], int(sys.argv[4]))
    for _ in range(5):
        step()
    print(peak_bytes())
else:
    for line in sys.stdin:
        name, batch = line.split()
        try:
            answer = median_us(name, int(batch))
        except ValueError:
            answer = None
        print(json.dumps(answer), flush=True)
