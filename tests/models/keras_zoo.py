"""Keras models as users have them: build(example_shape, num_outputs), without anything of this package."""

import keras
from keras import layers


def mlp(example_shape, num_outputs, width=16, rate=0.2):
    return keras.Sequential([
        layers.Input(example_shape), layers.Flatten(), layers.Dense(width, "relu"), layers.Dropout(rate),
        layers.Dense(num_outputs),
    ])  # fmt: skip


def lenet(example_shape, num_outputs):
    return keras.Sequential([
        layers.Input(example_shape), layers.Conv2D(6, 5, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(16, 5, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(120, "relu"), layers.Dense(84, "relu"), layers.Dense(num_outputs),
    ])  # fmt: skip


def resnet(example_shape, num_outputs, norm="batch"):
    def normalised(x):
        return layers.ReLU()(layers.BatchNormalization()(x) if norm == "batch" else layers.GroupNormalization(2)(x))

    inputs = layers.Input(example_shape)
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    y = layers.Conv2D(4, 3, padding="same")(normalised(x))
    y = layers.DepthwiseConv2D(3, padding="same")(normalised(y))
    x = layers.GlobalAveragePooling2D()(x + y)
    return keras.Model(inputs, layers.Dense(num_outputs)(x))


def group_resnet(example_shape, num_outputs):
    return resnet(example_shape, num_outputs, norm="group")


def lstm(example_shape, num_outputs):
    return keras.Sequential([
        layers.Input(example_shape), layers.Reshape((example_shape[0], -1)), layers.LSTM(8), layers.Dense(num_outputs),
    ])  # fmt: skip


def transformer(example_shape, num_outputs):
    inputs = layers.Input(example_shape)
    x = layers.Dense(8)(layers.Reshape((example_shape[0], -1))(inputs))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(16, "gelu")(x)))
    return keras.Model(inputs, layers.Dense(num_outputs)(layers.GlobalAveragePooling1D()(x)))


def unet(example_shape, num_outputs):
    """A class for each pixel."""
    inputs = layers.Input(example_shape)
    fine = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    coarse = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(fine))
    up = layers.Conv2DTranspose(4, 2, 2, activation="relu")(coarse)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Concatenate()([fine, up]))
    return keras.Model(inputs, layers.Conv2D(num_outputs, 1)(x))


def tagger(example_shape, num_outputs):
    """A class for each time step."""
    return keras.Sequential([
        layers.Input(example_shape), layers.Reshape((example_shape[0], -1)), layers.LSTM(8, return_sequences=True),
        layers.Dense(num_outputs),
    ])  # fmt: skip


MODELS = ("mlp", "lenet", "resnet", "group_resnet", "lstm", "transformer", "unet", "tagger")
LABEL_AXES = {"unet": 2, "tagger": 1}  # of those with several labels per example, the first axes of the example


# What is refused.


def other_outputs(example_shape, num_outputs):
    return mlp(example_shape, num_outputs + 1)


def no_model(example_shape, num_outputs):
    return "a model"


def half_precision(example_shape, num_outputs):
    return keras.Sequential([
        layers.Input(example_shape), layers.Flatten(), layers.Dense(num_outputs, dtype="float16"),
    ])  # fmt: skip


def no_weights(example_shape, num_outputs):
    return keras.Sequential([layers.Input(example_shape), layers.GlobalAveragePooling2D()])


def stateful(example_shape, num_outputs):
    class Counting(layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

        def call(self, x):
            self.count.assign_add(1.0)
            return x

    inputs = layers.Input(example_shape)
    return keras.Model(inputs, layers.Dense(num_outputs)(Counting()(layers.Flatten()(inputs))))


def raises(example_shape, num_outputs):
    return layers.Dense(num_outputs)(undefined)  # noqa: F821
