"""A runner tests the fused model, and has its own back afterwards."""

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmdwnet import FuseHook

from ..deploy.trained import assert_close, bns, trained
from ..models.nano import images, nano


class Classifier(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = trained(nano())

    def forward(self, inputs: torch.Tensor, mode: str = 'tensor') -> list[torch.Tensor]:
        return list(self.backbone(inputs)[0])


class Outputs(BaseMetric):
    """Keeps the outputs, each with the number of BNs that its model has."""

    def __init__(self, kept: list) -> None:
        super().__init__()
        self.kept = kept
        self.runner: Runner | None = None

    def process(self, data_batch: dict, data_samples: list[torch.Tensor]) -> None:
        self.kept += [(out, len(bns(self.runner.model))) for out in data_samples]
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list) -> dict:
        return dict(images=sum(results))


def run(work_dir: str, hooks: list[Hook]) -> list[tuple[torch.Tensor, int]]:
    metric = Outputs(kept=[])
    metric.runner = runner = Runner(
        Classifier(),
        work_dir=work_dir,
        test_dataloader=dict(
            dataset=[dict(inputs=image) for image in images(4)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=2,
            collate_fn=dict(type='default_collate'),
        ),
        test_cfg=dict(),
        test_evaluator=metric,
        custom_hooks=hooks,
        experiment_name=f'test_hook_{len(hooks)}',
    )
    model = runner.model
    assert runner.test() == dict(images=4)
    assert runner.model is model and bns(model)
    return metric.kept


def test_fused_for_the_test_alone(tmp_path):
    unfused = run(str(tmp_path), [EMAHook()])
    fused = run(str(tmp_path), [EMAHook(), FuseHook()])
    for (got, none), (expected, some) in zip(fused, unfused, strict=True):
        assert none == 0 < some
        assert_close(got, expected)
