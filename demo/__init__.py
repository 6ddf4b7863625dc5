"""The demo: train a classifier, a detector and a segmentor on digit scenes, and report scores."""
