"""What the speed of a convolution depends on, its weights aside."""

import dataclasses
import math

Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """All of a convolution that its speed depends on.

    Attributes:
        input_shape: (height, width, channels).
        filters, groups: their numbers.
        kernel_size, strides, dilation_rate: (down, across).
        padding: ((top, bottom), (left, right)).
    """

    input_shape: tuple[int, int, int]
    filters: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    dilation_rate: tuple[int, int]
    padding: Padding
    groups: int

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(height, width, filters)."""
        height, width = (
            (size + sum(around) - (pixels - 1) * dilation - 1) // stride + 1
            for size, around, pixels, dilation, stride in zip(
                self.input_shape[:2],
                self.padding,
                self.kernel_size,
                self.dilation_rate,
                self.strides,
                strict=True,
            )
        )
        return height, width, self.filters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the kernel for one image, whatever the lowering."""
        height, width, filters = self.output_shape
        return height * width * filters * math.prod(self.kernel_size) * self.group_widths[0]

    @property
    def group_widths(self) -> tuple[int, int]:
        """Channels and filters of a group."""
        return self.input_shape[-1] // self.groups, self.filters // self.groups

    def __str__(self) -> str:
        """Such as "56x56x64, 3x3, 64 filters in 16 groups"."""
        kernel = "x".join(map(str, self.kernel_size))
        stride = "" if self.strides == (1, 1) else "/" + "x".join(map(str, self.strides))
        groups = "" if self.groups == 1 else f" in {self.groups} groups"
        return (
            f"{'x'.join(map(str, self.input_shape))}, {kernel}{stride}, "
            f"{self.filters} filters{groups}"
        )


def same_padding(sizes, kernel_size, strides, dilation_rate) -> Padding:
    """What padding="same" means in TensorFlow, in zeros before and after."""
    top_bottom, left_right = (
        (total // 2, total - total // 2)
        for total in (
            max(0, (-(-size // stride) - 1) * stride + (pixels - 1) * dilation + 1 - size)
            for size, pixels, stride, dilation in zip(
                sizes, kernel_size, strides, dilation_rate, strict=True
            )
        )
    )
    return top_bottom, left_right
