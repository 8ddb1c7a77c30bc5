"""DALI's AutoAugment as ``throughput.py`` times it: a draw per image, on CPU threads or a GPU.

Its policy is AutoAugment's for ImageNet, the only one that DALI ships; batches come from memory.
"""

import warnings
from collections.abc import Callable

import numpy as np
from torch import Tensor

__all__ = ["dali_auto_augment"]


def dali_auto_augment(
    images: Tensor, threads: int, gpu: bool = False
) -> Callable[[], object] | None:
    """Return a call that augments uint8 images (B, C, H, W), or None where DALI is missing.

    With ``gpu`` it augments there; the batch then comes from the host, as DALI's sources do.
    """
    try:
        from nvidia.dali import fn, pipeline_def
        from nvidia.dali.auto_aug import auto_augment
    except ImportError:
        return None
    batch = [np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]

    # Nothing is made ahead: it would be made while the others are timed.
    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=len(batch),
        num_threads=threads,
        device_id=0 if gpu else None,
        enable_conditionals=True,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    def pipeline() -> object:
        given = fn.external_source(source=lambda: batch, batch=True, layout="HWC")
        given = given.gpu() if gpu else given
        return auto_augment.auto_augment(given, shape=batch[0].shape)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = pipeline(seed=0)
        built.build()
    return built.run  # type: ignore[no-any-return]
