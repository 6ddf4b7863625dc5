"""The demo: trains a classifier, a detector and a segmentor on digit scenes, and reports."""
