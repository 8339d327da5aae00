"""What tests compare with: a grouped convolution and whitened covariance in NumPy; LiteRT."""

import math

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def grouped_convolution(inputs, kernel, cotangent_of, strides, padding, dilation):
    """Outputs, and the gradients of sum(outputs * cotangent) by inputs and kernel.

    Args:
        inputs: [batch, height, width, channels].
        kernel: [height, width, channels / groups, filters].
        cotangent_of: function of the outputs' shape to an array of that shape.
    """
    batch, *size, channels = inputs.shape
    *window, channels_per_group, filters = kernel.shape
    groups = channels // channels_per_group
    filters_per_group = filters // groups
    span = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    if padding == "same":
        out = [-(-n // s) for n, s in zip(size, strides, strict=True)]
        pads = [
            max(0, (o - 1) * s + k - n) for o, s, k, n in zip(out, strides, span, size, strict=True)
        ]
    else:
        out = [(n - k) // s + 1 for n, k, s in zip(size, span, strides, strict=True)]
        pads = [0, 0]
    before = [p // 2 for p in pads]
    border = [(0, 0), *((b, p - b) for b, p in zip(before, pads, strict=True)), (0, 0)]
    padded = np.pad(inputs, border)

    outputs = np.zeros((batch, *out, filters))
    cotangent = cotangent_of(outputs.shape)
    padded_gradient, kernel_gradient = np.zeros_like(padded), np.zeros_like(kernel)
    for group in range(groups):
        c = slice(group * channels_per_group, (group + 1) * channels_per_group)
        f = slice(group * filters_per_group, (group + 1) * filters_per_group)
        for i in range(out[0]):
            for j in range(out[1]):
                for a in range(window[0]):
                    for b in range(window[1]):
                        y = i * strides[0] + a * dilation[0]
                        x = j * strides[1] + b * dilation[1]
                        pixel, weights = padded[:, y, x, c], kernel[a, b, :, f]
                        outputs[:, i, j, f] += pixel @ weights
                        padded_gradient[:, y, x, c] += cotangent[:, i, j, f] @ weights.T
                        kernel_gradient[a, b, :, f] += pixel.T @ cotangent[:, i, j, f]
    inputs_gradient = padded_gradient[
        :, before[0] : before[0] + size[0], before[1] : before[1] + size[1]
    ]
    return outputs, inputs_gradient, kernel_gradient


def run_tflite(content, images):
    """Outputs [examples, values] of a TFLite file of batch 1, one image at a time."""
    loaded = Interpreter(model_content=content)
    loaded.allocate_tensors()
    (given,), (made,) = loaded.get_input_details(), loaded.get_output_details()
    outputs = []
    for image in images:
        loaded.set_tensor(given["index"], image[np.newaxis])
        loaded.invoke()
        outputs.append(loaded.get_tensor(made["index"])[0])
    return np.stack(outputs)


def upsampled(maps, height, width):
    """By nearest neighbour, a pixel at a time."""
    n, h, w, channels = maps.shape
    large = np.zeros((n, height, width, channels))
    for i in range(height):
        for j in range(width):
            large[:, i, j] = maps[:, math.floor(i * h / height), math.floor(j * w / width)]
    return large


def whitened_covariance(first, second):
    """The paper's formula on all responses at once: ZCA by the singular values of the samples."""
    height, width = (max(first.shape[n], second.shape[n]) for n in (1, 2))
    whitened_samples = []
    for maps in (first, second):
        samples = upsampled(maps.astype(np.float64), height, width).reshape(-1, maps.shape[3])
        centred = samples - samples.mean(axis=0)
        left, sizes, right = np.linalg.svd(centred, full_matrices=False)
        kept = sizes > 1e-5 * sizes[0]
        whitened_samples.append(
            math.sqrt(len(samples) - 1) * left[:, kept] @ right[kept]  # X V S^-1 V^T
        )
    ours, theirs = whitened_samples
    return ours.T @ theirs / (len(ours) - 1)
