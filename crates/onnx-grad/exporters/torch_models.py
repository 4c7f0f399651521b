"""Small models as PyTorch users write them, with what each takes and how it is judged."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Model:
    module: nn.Module
    dims: tuple
    loss: str = "mean_squared_error"
    high: int = 0
    random: bool = False
    learning_rate: float = 0.05


class Apply(nn.Module):
    """A function with the weights that it needs before and after: all functions are trained through."""

    def __init__(self, function, width=6, outputs=None):
        super().__init__()
        self.before = nn.Linear(width, width)
        self.function = function
        self.after = nn.Linear(outputs or width, 3)

    def forward(self, x):
        return self.after(self.function(self.before(x)))


class Last(nn.Module):
    """A recurrent layer and a head over its last step."""

    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class States(nn.Module):
    """A recurrent layer judged by its last states, with the batch second."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        states = self.layer(x.transpose(0, 1))[1]
        states = torch.cat(states, -1) if isinstance(states, tuple) else states
        return states.permute(1, 0, 2).flatten(1)


class Attention(nn.Module):
    def __init__(self, core):
        super().__init__()
        self.tokens, self.core, self.head = nn.Embedding(12, 8), core, nn.Linear(8, 3)

    def forward(self, indices):
        return self.head(self.core(self.tokens(indices)).mean(1))


class SelfAttention(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(8, 2, batch_first=True), weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.weights)[0]


class Written(nn.Module):
    """Attention written out, with a causal mask; by Einsum, or by the function."""

    def __init__(self, by):
        super().__init__()
        self.by, self.qkv = by, nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = (part.view(-1, 5, 2, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if self.by == "function":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif self.by == "einsum":
            scores = torch.einsum("bhid,bhjd->bhij", q, k) / 2
            y = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
        else:
            mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
            y = (q @ k.transpose(-1, -2) / 2).masked_fill(mask, float("-inf")).softmax(-1) @ v
        return y.transpose(1, 2).reshape(-1, 5, 8)


ACTIVATIONS = [
    F.relu, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, lambda x: F.gelu(x, approximate="tanh"), F.silu, F.mish,
    F.softplus, F.softsign, F.hardsigmoid, F.hardswish, torch.tanh, torch.sigmoid, F.logsigmoid, F.hardtanh, F.relu6,
    F.hardshrink, F.softshrink, F.tanhshrink, F.glu, lambda x: F.softmax(x, 1), lambda x: F.log_softmax(x, 1),
    lambda x: F.softmin(x, 1)]

ELEMENTS = [
    torch.exp, lambda x: torch.log(x.abs() + 1), lambda x: torch.sqrt(x * x + 1), lambda x: x ** 3, lambda x: 2 ** x,
    lambda x: x.clamp(-0.5, 0.4), lambda x: torch.where(x > 0, x, x * x), torch.sin, torch.cos, torch.abs,
    lambda x: 1 / (x + 4), lambda x: torch.minimum(x, x.flip(1)), lambda x: torch.maximum(x, -x),
    lambda x: torch.rsqrt(x * x + 1), torch.erf, lambda x: torch.log1p(x * x), lambda x: torch.exp(x) - 1, lambda x: x / (1 + x.abs()),
    lambda x: x - x.mean(1, keepdim=True), lambda x: F.normalize(x, dim=1), torch.square, lambda x: x.masked_fill(x < 0, 0.3)]

REDUCTIONS = [
    lambda x: x.sum(1), lambda x: x.mean(1), lambda x: x.amax(1), lambda x: x.amin(1), lambda x: x.prod(1),
    lambda x: x.norm(dim=1), lambda x: x.norm(p=1, dim=1), lambda x: x.logsumexp(1), lambda x: x.var(1),
    lambda x: x.std(1), lambda x: x.max(1).values, lambda x: x.cumsum(1)[:, -1], lambda x: x.square().sum(1)]

SHAPES = [
    lambda x: x.view(-1, 2, 3).transpose(1, 2).reshape(-1, 6), lambda x: torch.cat(x.split([2, 4], 1)[::-1], 1),
    lambda x: torch.cat(x.chunk(3, 1), 1), lambda x: torch.stack([x, x], 1).sum(1), lambda x: x.repeat(1, 2)[:, 3:9],
    lambda x: x[:, [0, 2, 1, 5, 5, 3]], lambda x: x.index_select(1, torch.tensor([3, 1, 0])), lambda x: x[:, ::2],
    lambda x: x.gather(1, torch.tensor([[0, 5, 2]]).expand(x.shape[0], -1)), lambda x: x.roll(1, 1),
    lambda x: x.unsqueeze(1).expand(-1, 3, -1).flatten(1), lambda x: x.unflatten(1, (3, 2)).unsqueeze(2).squeeze(2).flatten(1),
    lambda x: F.pad(x, (1, 2)), lambda x: x.topk(2, 1).values, lambda x: torch.einsum("bi,bj->bij", x, x).flatten(1),
    lambda x: x.view(-1, 2, 3).triu().flatten(1), lambda x: x.unbind(1)[2].unsqueeze(1),
    lambda x: torch.bmm(x.view(-1, 2, 3), x.view(-1, 3, 2)).flatten(1), lambda x: x.scatter(1, torch.zeros(x.shape[0], 1, dtype=torch.int64), 0.5)]


class Each(nn.Module):
    """Every function of a list behind a weight of its own, summed up."""

    def __init__(self, functions, width=6):
        super().__init__()
        self.weights = nn.Parameter(torch.empty(len(functions), width).uniform_(0.5, 1.5))
        self.functions = functions

    def forward(self, x):
        values = [function(x * self.weights[i]) for i, function in enumerate(self.functions)]
        return torch.cat([value.unsqueeze(1) if value.dim() == 1 else value for value in values], 1)


def flat(*layers, width):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 3))


class Padded(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode, self.conv = mode, nn.Conv2d(2, 2, 3)

    def forward(self, x):
        return self.conv(F.pad(x, (1, 2, 2, 1), self.mode))


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU6(),
                                  nn.Conv2d(4, 4, 3, 1, 1, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU6(),
                                  nn.Conv2d(4, 4, 1))

    def forward(self, x):
        y = self.body(x)
        return (y + y.mean((2, 3), keepdim=True)).flatten(1)


IMAGE = (2, 8, 8)
CROSS = "softmax_cross_entropy"
MODELS = {
    "logistic": lambda: Model(nn.Sequential(nn.Linear(5, 1), nn.Sigmoid()), (5,), "binary_cross_entropy"),
    "softmax": lambda: Model(nn.Sequential(nn.Linear(5, 4), nn.Softmax(-1)), (5,), CROSS),
    "log_softmax": lambda: Model(nn.Sequential(nn.Linear(5, 4), nn.LogSoftmax(1)), (5,), CROSS),
    "mlp": lambda: Model(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), (5,), CROSS),
    "autoencoder": lambda: Model(nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 4),
                                               nn.Tanh(), nn.Linear(4, 8)), (8,)),
    "bilinear": lambda: Model(Apply(lambda x: (x.unsqueeze(1) @ x.unsqueeze(2)).flatten(1) * x), (6,)),
    "conv2d": lambda: Model(flat(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2),
                                 nn.Tanh(), width=64), IMAGE, CROSS),
    "conv1d": lambda: Model(flat(nn.Conv1d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv1d(4, 4, 3, padding="same", dilation=2),
                                 nn.MaxPool1d(2), width=12), (3, 15), CROSS),
    "separable": lambda: Model(Separable(), IMAGE, learning_rate=0.01),
    "transposed2d": lambda: Model(nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.ELU(), nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1)), IMAGE),
    "transposed1d": lambda: Model(nn.Sequential(nn.Conv1d(2, 4, 3, 2), nn.Tanh(), nn.ConvTranspose1d(4, 2, 4, 2, groups=2)), (2, 12)),
    "max_pool": lambda: Model(flat(nn.Conv2d(2, 3, 3), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True), width=12), IMAGE, CROSS),
    "average_pool": lambda: Model(flat(nn.Conv2d(2, 3, 3), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, 1, count_include_pad=False), width=12), IMAGE, CROSS),
    "global_average": lambda: Model(flat(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), width=3), IMAGE, CROSS),
    "global_max": lambda: Model(flat(nn.Conv2d(2, 3, 3), nn.AdaptiveMaxPool2d(1), width=3), IMAGE, CROSS),
    "adaptive_pool": lambda: Model(flat(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d((2, 3)), width=18), IMAGE, CROSS),
    "pad_reflect": lambda: Model(Padded("reflect"), IMAGE),
    "pad_replicate": lambda: Model(Padded("replicate"), IMAGE),
    "pad_circular": lambda: Model(Padded("circular"), IMAGE),
    "pad_constant": lambda: Model(Padded("constant"), IMAGE),
    "resize_nearest": lambda: Model(nn.Sequential(nn.Conv2d(2, 2, 3, 2), nn.Upsample(scale_factor=2)), IMAGE),
    "resize_linear": lambda: Model(nn.Sequential(nn.Conv2d(2, 2, 3, 2), nn.Upsample(scale_factor=2, mode="bilinear")), IMAGE),
    "resize_corners": lambda: Model(nn.Sequential(nn.Conv2d(2, 2, 3, 2), nn.Upsample(size=(5, 7), mode="bilinear", align_corners=True)), IMAGE),
    "resize1d": lambda: Model(nn.Sequential(nn.Conv1d(2, 2, 3), nn.Upsample(scale_factor=2, mode="linear")), (2, 8)),
    "pixel_shuffle": lambda: Model(nn.Sequential(nn.Conv2d(2, 4, 3), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3), nn.PixelUnshuffle(2)), IMAGE),
    "batch_norm": lambda: Model(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)), (5,), CROSS),
    "batch_norm2d": lambda: Model(flat(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Tanh(), width=108), IMAGE, CROSS),
    "layer_norm": lambda: Model(nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)), (5,), CROSS),
    "group_norm": lambda: Model(flat(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), width=144), IMAGE, CROSS),
    "instance_norm": lambda: Model(flat(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Tanh(), width=144), IMAGE, CROSS),
    "instance_norm1d": lambda: Model(flat(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4), nn.Tanh(), width=24), (2, 8), CROSS),
    "rms_norm": lambda: Model(nn.Sequential(nn.Linear(5, 6), nn.RMSNorm(6), nn.Linear(6, 3)), (5,), CROSS),
    "dropout": lambda: Model(nn.Sequential(nn.Linear(5, 12), nn.Dropout(0.3), nn.Tanh(), nn.Linear(12, 3)), (5,), CROSS, random=True),
    "lstm": lambda: Model(Last(nn.LSTM(3, 4, batch_first=True), 4), (5, 3), CROSS),
    "lstm_two_ways": lambda: Model(Last(nn.LSTM(3, 3, num_layers=2, bidirectional=True, batch_first=True), 6), (5, 3), CROSS),
    "lstm_states": lambda: Model(States(nn.LSTM(3, 4)), (5, 3)),
    "gru": lambda: Model(Last(nn.GRU(3, 4, batch_first=True), 4), (5, 3), CROSS),
    "gru_two_ways": lambda: Model(Last(nn.GRU(3, 3, bidirectional=True, batch_first=True), 6), (5, 3), CROSS),
    "gru_states": lambda: Model(States(nn.GRU(3, 4, num_layers=2)), (5, 3)),
    "rnn": lambda: Model(Last(nn.RNN(3, 4, batch_first=True), 4), (5, 3), CROSS),
    "rnn_relu": lambda: Model(Last(nn.RNN(3, 4, nonlinearity="relu", bidirectional=True, batch_first=True), 8), (5, 3), CROSS),
    "embedding": lambda: Model(nn.Sequential(nn.Embedding(12, 4), nn.Flatten(), nn.Linear(20, 3)), (5,), CROSS, high=12),
    "multihead": lambda: Model(Attention(SelfAttention(False)), (5,), CROSS, high=12),
    "multihead_weights": lambda: Model(Attention(SelfAttention(True)), (5,), CROSS, high=12),
    "encoder_layer": lambda: Model(Attention(nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True)), (5,), CROSS, high=12),
    "encoder_norm_first": lambda: Model(Attention(nn.TransformerEncoderLayer(8, 2, 12, 0.0, norm_first=True, batch_first=True)), (5,), CROSS, high=12),
    "attention_function": lambda: Model(Attention(Written("function")), (5,), CROSS, high=12),
    "attention_einsum": lambda: Model(Attention(Written("einsum")), (5,), CROSS, high=12),
    "attention_masked": lambda: Model(Attention(Written("mask")), (5,), CROSS, high=12),
    "activations": lambda: Model(Each(ACTIVATIONS), (6,)),
    "prelu": lambda: Model(nn.Sequential(nn.Linear(5, 6), nn.PReLU(6), nn.Linear(6, 3), nn.PReLU()), (5,)),
    "elements": lambda: Model(Each(ELEMENTS), (6,)),
    "reductions": lambda: Model(Each(REDUCTIONS), (6,)),
    "shapes": lambda: Model(Each(SHAPES), (6,)),
}
