"""The classifiers for `torch.hub.load`, under their names in timm."""

dependencies = ['timm', 'torch', 'torchvision']

from mmdwnet.timm import *  # noqa: E402, F403
