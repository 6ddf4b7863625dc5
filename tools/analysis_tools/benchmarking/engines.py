"""Inference engines that run exported models on the CPU, as alternatives to torch."""

from collections.abc import Callable
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from mmdwnet.errors import UserError

PRECISIONS = {
    'onnxruntime': {torch.float32: ''},
    'openvino': {torch.float32: 'f32', torch.bfloat16: 'bf16'},
}


def prepare(
    engine: str, model: nn.Module, images: Tensor, dtype: torch.dtype
) -> Callable[[], object]:
    """Export a model to ONNX and load it into an engine.

    Args:
        engine: A key of `PRECISIONS`.
        model: Float32 model in evaluation mode, on the CPU.
        images: (N, 3, H, W), float32.
        dtype: Dtype that the engine computes in.

    Returns:
        A function that runs the model on the images.

    Raises:
        UserError: The engine is not installed, or does not support `dtype` or the device of the
            images.
    """
    if dtype not in PRECISIONS[engine] or images.device.type != 'cpu':
        raise UserError(f'{engine} is timed on the CPU in {[*PRECISIONS[engine]]} only')
    threads = torch.get_num_threads()
    with TemporaryDirectory() as folder:
        path = f'{folder}/model.onnx'
        torch.onnx.export(model, (images,), path, dynamo=False, input_names=['images'])
        try:
            if engine == 'onnxruntime':
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = threads
                session = onnxruntime.InferenceSession(path, options)
                return lambda: session.run(None, {'images': images.numpy()})
            import openvino
        except ImportError as error:
            raise UserError(f'{engine} is not installed: pip install {engine}') from error
        hints = {
            'INFERENCE_NUM_THREADS': threads,
            'INFERENCE_PRECISION_HINT': PRECISIONS[engine][dtype],
        }
        compiled = openvino.Core().compile_model(path, 'CPU', hints)
        return lambda: compiled(images.numpy())
