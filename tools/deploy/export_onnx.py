"""Exports a trained model to ONNX."""

import sys

import predict_onnx

from mmdwnet.cli.export import main

if __name__ == '__main__':
    sys.exit(main(predict_onnx))
