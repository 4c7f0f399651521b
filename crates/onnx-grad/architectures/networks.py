"""The networks that onnx-grad must train: each as PyTorch would have it, with what it takes and gives."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Network:
    """`dims` are those of one example; `high` makes the input indices below it; `outputs` classes, or the
    loss is the mean squared error over the output. `salt` draws other numbers.

    Deep networks of normalisations and rectifiers turn the rounding of float32 into a coin's fall here
    and there: of some million numbers a few lie so near a kink that PyTorch's own float32 leaves its
    float64 by more than we allow. `lifted` draws the factors of normalisations around a half and their
    biases above 1, so that few numbers come near one, and yet some are cut."""
    family: str
    module: nn.Module
    dims: tuple
    classes: int = 0
    high: int = 0
    learning_rate: float = 0.05
    salt: int = 0
    lifted: bool = False


def mlp(*sizes):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def autoencoder():
    """The anomaly detector of MLPerf Tiny: 640 inputs, four hidden layers of 128, 8 in the middle, and back."""
    sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 640))


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))


def mcmahan_cnn():
    """The CNN of McMahan et al. 2017, 1,663,370 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))


def unit(inputs, outputs, kernel=3, stride=1, groups=1, act=nn.ReLU, padding=None):
    padding = kernel // 2 if padding is None else padding
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(unit(inputs, outputs, 3, stride), unit(outputs, outputs, 3, act=None))
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.body(x) + self.skip(x))


def resnet8():
    """MLPerf Tiny's image classification: three residual stacks on 32 x 32."""
    return nn.Sequential(unit(3, 16), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mobilenet_v1():
    """MLPerf Tiny's visual wake words: MobileNetV1 at width 0.25 on 96 x 96."""
    plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    layers, inputs = [unit(3, 8, 3, 2)], 8
    for outputs, stride in plan:
        layers += [unit(inputs, inputs, 3, stride, groups=inputs), unit(inputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 2))


def ds_cnn():
    """MLPerf Tiny's keyword spotting: a convolution and four separable ones on 49 x 10."""
    layers = [unit(1, 64, (10, 4), 2, padding=(5, 1))]
    for _ in range(4):
        layers += [unit(64, 64, 3, groups=64), unit(64, 64, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12))


def cnn1d():
    """Windows of 128 samples of a 9-axis motion sensor."""
    return nn.Sequential(
        nn.Conv1d(9, 64, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(64, 64, 5), nn.ReLU(), nn.MaxPool1d(2),
        nn.Flatten(), nn.Linear(64 * 29, 64), nn.ReLU(), nn.Linear(64, 6))


class Recurrent(nn.Module):
    def __init__(self, kind, inputs=6, hidden=32, classes=4):
        super().__init__()
        self.cells = kind(inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        states, _ = self.cells(x)
        return self.head(states[:, -1])


class Attention(nn.Module):
    """Two encoder layers of four heads, as torch.nn writes them, over 16 tokens out of 100."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True)
        self.tokens = nn.Embedding(100, 32)
        self.places = nn.Parameter(torch.zeros(1, 16, 32))
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 4)

    def forward(self, indices):
        return self.head(self.encoder(self.tokens(indices) + self.places).mean(1))


class Inverted(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        inner = inputs * expansion
        widen = [unit(inputs, inner, 1, act=nn.ReLU6)] if expansion > 1 else []
        self.body = nn.Sequential(*widen, unit(inner, inner, 3, stride, inner, nn.ReLU6), unit(inner, outputs, 1, act=None))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


def mobilenet_v2():
    """MobileNetV2 at width 0.35 on 96 x 96."""
    plan = [(1, 8, 1, 1), (6, 8, 2, 2), (6, 16, 3, 2), (6, 24, 4, 2), (6, 32, 3, 1), (6, 56, 3, 2), (6, 112, 1, 1)]
    layers, inputs = [unit(3, 16, 3, 2, act=nn.ReLU6)], 16
    for expansion, outputs, count, stride in plan:
        for index in range(count):
            layers.append(Inverted(inputs, outputs, stride if index == 0 else 1, expansion))
            inputs = outputs
    return nn.Sequential(*layers, unit(112, 1280, 1, act=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(1280, 10))


class UNet(nn.Module):
    """Two levels on 32 x 32, upsampled once by a transposed convolution and once by interpolation."""

    def __init__(self):
        super().__init__()
        double = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.ReLU())
        self.down1, self.down2, self.bottom = double(1, 8), double(8, 16), double(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.merge2 = nn.ConvTranspose2d(32, 16, 2, 2), double(32, 16)
        self.up1, self.merge1 = nn.Upsample(scale_factor=2, mode="bilinear"), double(24, 8)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        c = self.bottom(self.pool(b))
        b = self.merge2(torch.cat([self.up2(c), b], 1))
        return self.out(self.merge1(torch.cat([self.up1(b), a], 1)))


NETWORKS = {
    "softmax_regression": lambda: Network("dense", nn.Linear(784, 10), (784,), classes=10),
    "mlp": lambda: Network("dense", mlp(64, 128, 10), (64,), classes=10),
    "autoencoder": lambda: Network("dense", autoencoder(), (640,)),
    "lenet5": lambda: Network("conv", lenet5(), (1, 28, 28), classes=10),
    "mcmahan_cnn": lambda: Network("conv", mcmahan_cnn(), (1, 28, 28), classes=10),
    "resnet8": lambda: Network("conv", resnet8(), (3, 32, 32), classes=10),
    "mobilenet_v1": lambda: Network("conv", mobilenet_v1(), (3, 96, 96), classes=2, learning_rate=1e-3, lifted=True),
    "ds_cnn": lambda: Network("conv", ds_cnn(), (1, 49, 10), classes=12, learning_rate=0.01),
    "cnn1d": lambda: Network("conv", cnn1d(), (9, 128), classes=6),
    "lstm": lambda: Network("recurrent", Recurrent(nn.LSTM), (20, 6), classes=4),
    "gru": lambda: Network("recurrent", Recurrent(nn.GRU), (20, 6), classes=4),
    "transformer": lambda: Network("attention", Attention(), (16,), classes=4, high=100),
    "mobilenet_v2": lambda: Network("conv", mobilenet_v2(), (3, 96, 96), classes=10, learning_rate=1e-3, lifted=True),
    "unet": lambda: Network("conv", UNet(), (1, 32, 32)),
}
