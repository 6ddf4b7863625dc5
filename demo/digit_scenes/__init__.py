"""Digit scenes: pictures of handwritten digits in the layouts of ImageNet, COCO and ADE20K."""

from .make import make_digit_scenes
from .options import CLASSES, PALETTE, SEG_CLASSES, DigitSceneOptions

__all__ = ['CLASSES', 'PALETTE', 'SEG_CLASSES', 'DigitSceneOptions', 'make_digit_scenes']
