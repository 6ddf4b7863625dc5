"""Predictions in a file, to be evaluated elsewhere."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric, DumpResults


class DumpLabelMaps(DumpResults):
    """Dump a segmentor's label maps without the logits, which take hundreds of times the space."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Add the predictions of one batch."""
        super().process(
            data_batch,
            [{k: v for k, v in sample.items() if k != 'seg_logits'} for sample in data_samples],
        )


def dump_metric(scope: str, path: str) -> BaseMetric:
    """Make the metric that pickles a list of predictions, one dict per image."""
    if scope == 'mmdet':
        from mmdet.evaluation import DumpDetResults  # takes seconds, and only detectors need it

        return DumpDetResults(out_file_path=path)
    return (DumpLabelMaps if scope == 'mmseg' else DumpResults)(out_file_path=path)
