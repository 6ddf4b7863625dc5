"""The program that predicts without torch: masks, run lengths, and bad input."""

from pathlib import Path

import numpy as np
import onnx
import predict_onnx
import pytest
import torch
from pycocotools import mask as coco


def test_run_lengths_are_those_of_coco() -> None:
    rng = np.random.default_rng(0)
    for mask in (rng.random((7, 5)) > 0.5, np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        runs = predict_onnx.runs(mask)
        decoded = coco.decode(coco.frPyObjects(runs, *runs['size']))
        assert (decoded == mask).all()


def test_masks_are_pasted_as_mmdet_does() -> None:
    import mmdwnet  # noqa: F401  (first, as mmdet needs its operators)

    # isort: split
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    generator = torch.Generator().manual_seed(0)
    grids = torch.rand(3, 1, 28, 28, generator=generator)
    found = torch.tensor([[3.2, 5.7, 31.5, 40.1], [-4, -2, 6, 70], [20, 20, 20.5, 20.5]])
    expected, _ = _do_paste_mask(grids, found, 48, 64, skip_empty=False)
    for grid, box, mask in zip(grids, found, expected, strict=True):
        pasted = predict_onnx.paste(grid[0].numpy(), box.numpy(), (64, 48))
        np.testing.assert_allclose(pasted, mask.numpy(), atol=1e-4)


def refusal(capsys: pytest.CaptureFixture, *args: object) -> str:
    assert predict_onnx.main([str(arg) for arg in args]) == 2
    return capsys.readouterr().err.strip()


def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, model = tmp_path / 'a.png', tmp_path / 'a.onnx'
    image.write_bytes(b'no image')
    assert 'there is no model' in refusal(capsys, model, image)
    model.write_bytes(b'no model')
    assert 'onnxruntime cannot read' in refusal(capsys, model, image)
    assert 'openvino cannot read' in refusal(capsys, model, image, '--engine', 'openvino')
    value = onnx.helper.make_tensor_value_info('images', onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node('Identity', ['images'], ['same'])
    same = onnx.helper.make_tensor_value_info('same', onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], 'a', [value], [same])
    opsets = [onnx.helper.make_opsetid('', 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), model)
    for engine in ('onnxruntime', 'openvino'):
        told = refusal(capsys, model, image, '--engine', engine)
        assert 'does not say how images are prepared' in told
    assert 'there is no image' in refusal(capsys, model, tmp_path / 'b.png')
    (tmp_path / 'empty').mkdir()
    assert 'there are no images in' in refusal(capsys, model, tmp_path / 'empty')
    monkeypatch.setitem(__import__('sys').modules, 'openvino', None)
    told = refusal(capsys, model, image, '--engine', 'openvino')
    assert told == 'openvino is not installed: pip install openvino'
