"""The addresses of the weights that the authors released."""

_DWNETS = 'https://github.com/Atten4Vis/DemystifyLocalViT/releases/download/prerelease'
_SWIN_MLPS = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.5'
_BACKBONES = ('dwnet_tiny', 'dynamic_dwnet_tiny', 'dwnet_base', 'dynamic_dwnet_base')

# Address of each model's file. The authors publish neither sizes nor hashes.
RELEASES: dict[str, str] = {
    **{name: f'{_DWNETS}/{name}_224.pth' for name in _BACKBONES},
    **{
        f'{method}_{name}': f'{_DWNETS}/{method}_{name}.pth'
        for method in ('cascade_mask_rcnn', 'upernet')
        for name in _BACKBONES
    },
    **{
        f'swin_mlp_tiny_{heads}': f'{_SWIN_MLPS}/swin_mlp_tiny_{heads}_patch4_window8_256.pth'
        for heads in ('c24', 'c12', 'c6')
    },
    'swin_mlp_base': f'{_SWIN_MLPS}/swin_mlp_base_patch4_window7_224.pth',
}
