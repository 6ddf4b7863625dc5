"""Picture sets: photographs of clothes and scenes of drawings, each in several formats."""

from .make import PictureSetOptions, make_picture_sets

__all__ = ['PictureSetOptions', 'make_picture_sets']
