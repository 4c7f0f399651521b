"""What tf2onnx writes of small Keras models, and how those train in Keras in float64.

Needs tensorflow and tf2onnx. `python from_keras.py [name…]` writes the models
of this folder, `--opsets 14,15 --folder OTHER` those of other operator sets into another."""

import os
from dataclasses import dataclass

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers as L

from _drawn import HERE, STEPS, Golden, arguments, examples, index, nodes, targets, uniform, write

EXPORTER = "tf2onnx"
# tf2onnx knows no later operator set.
OPSETS = range(13, 19)
KEPT = [13, 18]
WEIGHTS = 16
CROSS = "softmax_cross_entropy"


@dataclass
class Model:
    layers: list
    dims: tuple
    loss: str = "mean_squared_error"
    high: int = 0
    random: bool = False
    learning_rate: float = 0.05


class Attend(keras.Model):
    """One attention layer over embedded tokens, with normalisation and a residual."""

    def __init__(self):
        super().__init__()
        self.tokens, self.attention = L.Embedding(12, 8), L.MultiHeadAttention(2, 4)
        self.norm, self.head = L.LayerNormalization(), L.Dense(3)

    def call(self, x):
        x = self.tokens(x)
        return self.head(keras.ops.mean(self.norm(x + self.attention(x, x, use_causal_mask=True)), 1))


ACTIVATIONS = ["relu", "relu6", "leaky_relu", "elu", "selu", "silu", "mish", "softplus", "softsign", "hard_sigmoid",
               "hard_silu", "tanh", "sigmoid", "log_sigmoid", "hard_tanh", "softmax", "log_softmax", "tanh_shrink", "exponential"]


class Activations(keras.Model):
    def __init__(self):
        super().__init__()
        self.before = [L.Dense(3) for _ in ACTIVATIONS]

    def call(self, x):
        each = [keras.activations.get(name)(own(x)) for name, own in zip(ACTIVATIONS, self.before)]
        return keras.ops.concatenate([*each, keras.activations.gelu(each[0] - 0.5, approximate=True)], 1)


class Elements(keras.Model):
    """What users write with keras.ops."""

    FUNCTIONS = [
        keras.ops.exp, keras.ops.sin, keras.ops.cos, keras.ops.abs, keras.ops.square, lambda x: keras.ops.log(x * x + 1),
        lambda x: keras.ops.sqrt(x * x + 1), lambda x: keras.ops.clip(x, -0.5, 0.4), lambda x: keras.ops.where(x > 0, x, x * x),
        lambda x: keras.ops.power(keras.ops.abs(x) + 1, 1.5), lambda x: keras.ops.maximum(x, -x), lambda x: keras.ops.minimum(x, 0.1),
        lambda x: x / (1 + x * x), lambda x: x - keras.ops.mean(x, 1, keepdims=True), lambda x: keras.ops.rsqrt(x * x + 1),
        lambda x: keras.ops.max(x, 1, keepdims=True), lambda x: keras.ops.sum(x, 1, keepdims=True), keras.ops.erf,
        lambda x: keras.ops.logsumexp(x, 1, keepdims=True), lambda x: keras.ops.reshape(x, (-1, 2, 2))[:, :, 0],
        lambda x: keras.ops.transpose(keras.ops.reshape(x, (-1, 2, 2)), (0, 2, 1))[:, 1], lambda x: keras.ops.tile(x, (1, 2)),
        lambda x: keras.ops.concatenate(keras.ops.split(x, 2, 1)[::-1], 1), lambda x: keras.ops.take(x, [2, 0], 1),
        lambda x: keras.ops.einsum("bi,bi->bi", x, x), lambda x: keras.ops.normalize(x, 1), lambda x: keras.ops.stack([x, -x], 1)[:, 0]]

    def __init__(self):
        super().__init__()
        self.before = [L.Dense(4) for _ in self.FUNCTIONS]

    def call(self, x):
        return keras.ops.concatenate([function(own(x)) for function, own in zip(self.FUNCTIONS, self.before)], 1)


IMAGE = (8, 8, 2)
MODELS = {
    "logistic": lambda: Model([L.Dense(1, "sigmoid")], (5,), "binary_cross_entropy"),
    "softmax": lambda: Model([L.Dense(4, "softmax")], (5,), CROSS),
    "mlp": lambda: Model([L.Dense(8, "relu"), L.Dense(3)], (5,), CROSS),
    "autoencoder": lambda: Model([L.Dense(4, "tanh"), L.Dense(2, "tanh"), L.Dense(4, "tanh"), L.Dense(8)], (8,)),
    "conv2d": lambda: Model([L.Conv2D(4, 3, 2, "same", activation="relu"), L.Conv2D(4, 3, padding="same", dilation_rate=2),
                             L.Activation("tanh"), L.Flatten(), L.Dense(3)], IMAGE, CROSS),
    "conv1d": lambda: Model([L.Conv1D(4, 3, 2, activation="elu"), L.Conv1D(4, 3, padding="causal"), L.MaxPooling1D(2),
                             L.Flatten(), L.Dense(3)], (15, 3), CROSS),
    "separable": lambda: Model([L.DepthwiseConv2D(3, 2, "same"), L.BatchNormalization(), L.ReLU(6.0), L.SeparableConv2D(4, 3),
                                L.GlobalAveragePooling2D(), L.Dense(3)], IMAGE, CROSS, learning_rate=0.02),
    "transposed2d": lambda: Model([L.Conv2D(3, 3, 2, "same", activation="elu"), L.Conv2DTranspose(2, 3, 2, "same")], IMAGE),
    "transposed1d": lambda: Model([L.Conv1D(3, 3, 2, activation="tanh"), L.Conv1DTranspose(2, 4, 2)], (12, 2)),
    "max_pool": lambda: Model([L.Conv2D(3, 3), L.MaxPooling2D(3, 2, "same"), L.GlobalMaxPooling2D(), L.Dense(3)], IMAGE, CROSS),
    "average_pool": lambda: Model([L.Conv2D(3, 3), L.AveragePooling2D(3, 2, "same"), L.Flatten(), L.Dense(3)], IMAGE, CROSS),
    "padding": lambda: Model([L.ZeroPadding2D(((1, 2), (0, 1))), L.Conv2D(2, 3), L.Cropping2D(1), L.Permute((3, 1, 2)),
                              L.Reshape((-1,)), L.Dense(3)], IMAGE, CROSS),
    "resize_nearest": lambda: Model([L.Conv2D(2, 3, 2), L.UpSampling2D(2), L.Conv2D(1, 3)], IMAGE),
    "resize_linear": lambda: Model([L.Conv2D(2, 3, 2), L.UpSampling2D(2, interpolation="bilinear")], IMAGE),
    "batch_norm": lambda: Model([L.Dense(6), L.BatchNormalization(), L.Activation("tanh"), L.Dense(3)], (5,), CROSS),
    "batch_norm2d": lambda: Model([L.Conv2D(3, 3), L.BatchNormalization(), L.Activation("tanh"), L.Flatten(), L.Dense(3)], IMAGE, CROSS),
    "layer_norm": lambda: Model([L.Dense(6), L.LayerNormalization(), L.Activation("tanh"), L.Dense(3)], (5,), CROSS),
    "group_norm": lambda: Model([L.Conv2D(4, 3), L.GroupNormalization(2), L.Activation("tanh"), L.Flatten(), L.Dense(3)], IMAGE, CROSS),
    "dropout": lambda: Model([L.Dense(12), L.Dropout(0.3), L.Activation("tanh"), L.Dense(3)], (5,), CROSS, random=True),
    "lstm": lambda: Model([L.LSTM(4), L.Dense(3)], (5, 3), CROSS),
    "lstm_two_ways": lambda: Model([L.Bidirectional(L.LSTM(3, return_sequences=True)), L.LSTM(3), L.Dense(3)], (5, 3), CROSS),
    "gru": lambda: Model([L.GRU(4, unroll=True), L.Dense(3)], (5, 3), CROSS),
    "gru_reset_before": lambda: Model([L.GRU(4, reset_after=False, unroll=True), L.Dense(3)], (5, 3), CROSS),
    "lstm_unrolled": lambda: Model([L.LSTM(4, unroll=True), L.Dense(3)], (5, 3), CROSS),
    "rnn": lambda: Model([L.SimpleRNN(4, return_sequences=True, unroll=True), L.TimeDistributed(L.Dense(3))], (5, 3)),
    "embedding": lambda: Model([L.Embedding(12, 4), L.Flatten(), L.Dense(3)], (5,), CROSS, high=12),
    "attention": lambda: Model([Attend()], (5,), CROSS, high=12),
    "activations": lambda: Model([Activations()], (5,)),
    "prelu": lambda: Model([L.Dense(6), L.PReLU(), L.Dense(3)], (5,)),
    "elements": lambda: Model([Elements()], (5,)),
}


def build(make, kind):
    keras.config.set_floatx(kind)
    keras.config.set_dtype_policy(kind)
    keras.utils.set_random_seed(7)
    own = make()
    x = keras.Input(own.dims, dtype="int64" if own.high else kind)
    y = x
    for layer in own.layers:
        y = layer(y)
    return own, keras.Model(x, y)


def judge(loss, y, target):
    if loss == CROSS:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(target, y))
    if loss == "binary_cross_entropy":
        return tf.reduce_mean(-target * tf.math.log(y) - (1 - target) * tf.math.log(1 - y))
    return tf.reduce_mean((y - target) ** 2)


def curve(own, net, shape):
    if own.random:
        return []
    x, target = tf.constant(examples(own.dims, own.high)), tf.constant(targets(own.loss, shape))
    losses = []
    # Normalisation of batches tf2onnx writes as for evaluation, as one product and sum; LSTM's one bias as two.
    same = not any(isinstance(layer, (L.BatchNormalization, L.Bidirectional, L.LSTM)) for layer in own.layers)
    for _ in range(STEPS if same else 1):
        with tf.GradientTape() as tape:
            y = net(x, training=False)
            last = own.layers[-1]
            y = tf.math.log(y) if getattr(last, "activation", None) is keras.activations.softmax else y
            loss = judge(own.loss, y, target)
        losses.append(float(loss))
        for weight, gradient in zip(net.trainable_weights, tape.gradient(loss, net.trainable_weights)):
            weight.assign_sub(own.learning_rate * tf.convert_to_tensor(gradient))
    return losses


def export(own, net, opset):
    kind = tf.int64 if own.high else tf.float32
    function = tf.function(lambda x: net(x, training=False), input_signature=[tf.TensorSpec((None, *own.dims), kind, "x")])
    return tf2onnx.convert.from_function(function, function.input_signature, opset=opset)[0]


def main():
    folder, opsets, names = arguments(MODELS)
    rows = []
    for name in names:
        own, net = build(MODELS[name], "float32")
        # tf2onnx leaves zeros and ones out, such as biases that were never trained.
        net.set_weights([np.float32(weight + 0.1 * uniform(WEIGHTS + place, weight.shape)) for place, weight in enumerate(net.get_weights())])
        same, exact = build(MODELS[name], "float64")
        exact.set_weights(net.get_weights())
        shape = exact(tf.constant(examples(own.dims, own.high))).shape
        losses = curve(same, exact, tuple(shape))
        for opset in [at for at in OPSETS if at in (opsets or KEPT)]:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")
            try:
                model = export(own, net, opset)
                golden = Golden(name, EXPORTER, opset, own.loss, own.dims, int(np.prod(shape[1:])), own.high, own.learning_rate, losses)
                if rows and rows[-1].name == name and nodes(model) == before:
                    continue
                before = nodes(model)
                write(model, golden, folder)
            except Exception as error:
                print(f"{name} {opset}: not exported, {str(error).strip().splitlines()[0][:150]}")
                continue
            rows.append(golden)
    index(rows, {EXPORTER}, names, folder)
    print(len(rows), "models")


main()
