"""Compilation of the backbone for training, where a config has `compile=True`.

mmengine would compile the whole training step. torch fails on the optimizers that mmengine builds,
breaks the code of detection and segmentation heads into many graphs, as it depends on the data, and
compiles many of them anew when sizes change, which takes much longer than the demo's trainings.
"""

import torch
from torch import nn

from mmdwnet.deploy.compiling import check_cpp_compiler
from mmdwnet.errors import UserError
from mmdwnet.models.swin_design import SwinDesign


def compile_backbones(model: nn.Module, given: object) -> bool:
    """Compile each DWNet and Swin-MLP in a model with `torch.compile`, when it is first called.

    Args:
        model: The model, which is modified; the keys of its state dict are not.
        given: `compile` of the config: True, or a dict of options for `torch.compile`, or False or
            None to compile nothing.

    Returns:
        Whether anything is compiled.

    Raises:
        UserError: `torch.compile` does not take the options, or there is no C++ compiler.
    """
    backbones = [module for module in model.modules() if isinstance(module, SwinDesign)]
    if given is None or given is False or not backbones:
        return False
    if given is not True and not isinstance(given, dict):
        raise UserError(
            f'the config has compile={given!r}: give True, or a dict of options for torch.compile, '
            "such as dict(mode='max-autotune')"
        )
    options = {} if given is True else dict(given)
    if options.get('backend', 'inductor') == 'inductor' and not torch.cuda.is_available():
        check_cpp_compiler()
    try:
        for backbone in backbones:
            backbone.compile(**options)
    except (TypeError, RuntimeError) as error:
        raise UserError(
            f'the config has compile={options}, which torch.compile does not take: '
            f'{str(error).splitlines()[0]}'
        ) from error
    return True
