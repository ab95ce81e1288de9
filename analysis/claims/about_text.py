"""The statements of the paper about its dataset's columns, its networks and earlier work that no trial decides.

    for judged in TEXT_CLAIMS:
        print(judged.verdict, judged.claim)

What decides them is the documentation of Galaxy10 DECaLS (`galaxytl.data.galaxy10` cites it), and the architectures of
keras.applications: layer by layer they add up to its numbers of parameters, which leaves no room for further layers.
Where only an article could decide, the verdict is NOT_TESTABLE, and what is believed is called so. A claim is one row
of TEXT_CLAIMS; they stand in the paper's order.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from analysis.claims.verdicts import COMPATIBLE, CONTRADICTED, NOT_TESTABLE, Judged, verdict_of

COLUMNS: Final = ("images", "ans", "ra", "dec", "redshift", "pxscale")
"""Columns of Galaxy10_DECals.h5, as its documentation lists them."""
PRINTED_COLUMNS: Final = {"images", "ans", "ra", "dec", "redshift", "pxscale"}
"""Columns that the paper names."""

VGG16_WIDTHS: Final = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
"""Channels that each 3 x 3 convolution of VGG16 gives."""
VGG16_DENSE: Final = (7 * 7 * 512, 4096, 4096, 1000)
"""Numbers that go into VGG16's first dense layer at 224 x 224 pixels, and that each of the three gives."""
RESNET50_STACKS: Final = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Channels within the residual blocks of each stack of ResNet50, and how many blocks it has."""
NUM_BLOCKS: Final = sum(number for _, number in RESNET50_STACKS)
LIBRARIAN: Final = "No library is asked from here: for a librarian"


def vgg16_parameters(widths: Sequence[int] = VGG16_WIDTHS) -> int:
    """Return how many parameters 3 x 3 convolutions of these widths have, one after the other, from three colours on.

    >>> vgg16_parameters()
    14714688
    """
    inputs = (3, *widths[:-1])
    return sum(9 * low * high + high for low, high in zip(inputs, widths, strict=True))


def dense_parameters(widths: Sequence[int] = VGG16_DENSE) -> int:
    """Return how many parameters dense layers have that give these numbers, but for the first, which goes in.

    >>> dense_parameters()
    123642856
    """
    return sum(low * high + high for low, high in itertools.pairwise(widths))


def resnet50_parameters(convolutions: int) -> int:
    """Return how many parameters ResNet50 has without its classifier, with two or three convolutions a block.

    Three: 1 x 1, 3 x 3 and 1 x 1, the last with four times the channels; two: 3 x 3 each. Each convolution has biases
    and a BatchNorm of four numbers a channel, as in keras.applications; where a block changes the number of channels,
    its skip connection has a 1 x 1 convolution of its own. Raises ValueError for another number.
    """
    if convolutions not in (2, 3):
        raise ValueError(f"a block of ResNet has two or three convolutions; got {convolutions}")
    widening = 4 if convolutions == 3 else 1
    total, channels = _convolution(7, 3, 64), 64
    for width, blocks in RESNET50_STACKS:
        for _ in range(blocks):
            if channels != widening * width:
                total += _convolution(1, channels, widening * width)
            sides = (1, 3, 1) if convolutions == 3 else (3, 3)
            widths = (width, width, widening * width)[-convolutions:]
            for side, low, high in zip(sides, (channels, *widths), widths, strict=False):
                total += _convolution(side, low, high)
            channels = widening * width
    return total


def _convolution(side: int, low: int, high: int) -> int:
    """Return the number of parameters of a convolution with biases, and with BatchNorm behind it."""
    return side**2 * low * high + high + 4 * high


CITED: Final = (
    (5, "92 % on Galaxy Zoo", "printed without volume and pages"),
    (6, "95 % on Galaxy10", "its title names Galaxy Zoo 10 and simulations, section 1 the Galaxy10 dataset"),
    (
        7,
        "94 % on Galaxy10 with ImageNet weights",
        "its title is about telling stars from galaxies, section 1 about the shapes of galaxies; Galaxy10 has no stars",
    ),
)
"""References: number, what section 1 says of each, and what the list of references shows without any library."""

TEXT_CLAIMS: Final = (
    Judged(
        "the columns are images, ans, ra, dec, redshift and pxscale",
        "section 2.1",
        verdict_of(set(COLUMNS) == PRINTED_COLUMNS),
        f"its documentation lists {', '.join(COLUMNS)}, and 17,736 images of 256 x 256 pixels in three colours",
    ),
    Judged(
        "the images cover the bands g, r and z",
        "section 2.1",
        COMPATIBLE,
        "each image has three channels, and the documentation says that they were composed of g, r and z. The channels"
        " are the red, green and blue of a picture, 0 to 255: the file names no band, and holds no flux in one",
    ),
    Judged(
        "ResNet50 consists of 50 layers",
        "section 2.2",
        verdict_of(1 + 3 * NUM_BLOCKS + 1 == 50),
        f"1 + 3 x {NUM_BLOCKS} convolutions and 1 dense layer, not counting the four of the skip connections; with"
        " include_top=False, as the paper trains it, 49 and the paper's own Dense(10)",
    ),
    Judged(
        "ResNet50's blocks have two or three convolutions",
        "section 2.2",
        COMPATIBLE,
        "true of residual blocks in general; in ResNet50 each of the 16 has three, and none has two: the network then"
        f" has {resnet50_parameters(3):,} parameters without its classifier, which is what keras.applications counts;"
        f" with two it would have {resnet50_parameters(2):,}. We believe that blocks of two are those of ResNet-18 and"
        " ResNet-34, which the paper does not use",
    ),
    Judged(
        "ResNet-101 and ResNet-152 were developed after ResNet-50",
        "section 2.2",
        CONTRADICTED,
        "keras.applications names one article as the source of ResNet50, ResNet101 and ResNet152, and it is the paper's"
        " own reference [9]: by that they were introduced together, and none came after",
    ),
    Judged(
        "the VGG16 that is trained has three dense layers",
        "sections 2.2, 2.3",
        CONTRADICTED,
        "the published network, which section 2.2 describes, has them. The one that is trained here has"
        f" include_top=False (section 2.3): its 13 convolutions of 3 x 3 add up to {vgg16_parameters():,} parameters,"
        " which are all that keras.applications counts. It has no dense layer of VGG16's, and one, not three, with the"
        " paper's head",
    ),
    Judged(
        "include_top=False leaves out the final layer alone",
        "section 2.3",
        CONTRADICTED,
        f"of MobileNet and ResNet50 it does. Of VGG16 it leaves out all three dense layers, {dense_parameters():,} of"
        f" {dense_parameters() + vgg16_parameters():,} parameters, of which the final one has"
        f" {dense_parameters(VGG16_DENSE[-2:]):,} and the first {dense_parameters(VGG16_DENSE[:2]):,}. What stays is"
        " 13 convolutions, with the paper's own Dense(10) behind them",
    ),
    Judged(
        "the CAS system was proposed by Holwerda et al.",
        "section 1, reference [3]",
        NOT_TESTABLE,
        "[3] is of 2011, and by its title about how long mergers are visible in H I in simulations: a use of such"
        " parameters, not their proposal. We believe that CAS is concentration, asymmetry and smoothness, has no"
        f" machine learning in it, and is Conselice's (2003), as later software credits it. {LIBRARIAN}",
    ),
    *(
        Judged(
            f"reference [{number}] exists and says so: {said}",
            f"section 1, reference [{number}]",
            NOT_TESTABLE,
            f"{shown}. We believe that there is no article of this title. {LIBRARIAN}",
        )
        for number, said, shown in CITED
    ),
)
