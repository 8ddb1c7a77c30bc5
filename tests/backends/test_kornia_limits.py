"""Known limits of Kornia 0.9 that the float backend works around.

Each test states what we would expect. A strict xfail tells when a version of Kornia mends it; then
the way around it, see docs/limits.md, can go.
"""

import kornia
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import smooth_image


@pytest.mark.xfail(strict=True, reason="posterize truncates 255 times the level")
def test_posterize_rounds_to_whole_levels_first():
    levels = torch.arange(2, 256, 2).view(1, 1, 1, 127)
    out = kornia.enhance.posterize((levels - 1e-3) / 255, 7)
    torch.testing.assert_close(255 * out, levels.float(), atol=0.1, rtol=0)


@pytest.mark.xfail(strict=True, reason="normalize_min_max turns a flat channel black")
def test_stretching_a_flat_channel_leaves_it_alone():
    flat = torch.full((1, 1, 4, 4), 0.5)
    torch.testing.assert_close(kornia.enhance.normalize_min_max(flat), flat)


@pytest.mark.xfail(strict=True, reason="solarize has no gradient in its threshold (#2490)")
def test_solarize_has_a_gradient_in_its_threshold():
    threshold = torch.tensor([0.5], requires_grad=True)
    kornia.enhance.solarize(torch.rand(1, 3, 8, 8), threshold).sum().backward()
    assert threshold.grad is not None


@pytest.mark.xfail(strict=True, reason="posterize takes whole bits and passes no gradient")
def test_posterize_passes_a_gradient_to_the_image():
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    kornia.enhance.posterize(image, torch.tensor([4])).sum().backward()
    assert image.grad.abs().sum() > 0


@pytest.mark.xfail(strict=True, reason="warp_affine rounds source pixels in another way than PIL")
@pytest.mark.parametrize("degrees", [7.0, 23.0])
def test_warp_affine_picks_pils_nearest_pixel(degrees):
    image = torch.rand(1, 1, 224, 224)
    matrix = kornia.geometry.transform.get_rotation_matrix2d(
        torch.tensor([[111.5, 111.5]]), torch.tensor([degrees]), torch.ones(1, 2)
    )
    out = kornia.geometry.transform.warp_affine(image, matrix, (224, 224), mode="nearest")
    expected = Image.fromarray(image[0, 0].numpy()).rotate(degrees)
    assert np.array_equal(out[0, 0].numpy(), np.asarray(expected))


@pytest.mark.xfail(strict=True, reason="crop_by_indices is up to two levels off PIL's bicubic")
def test_crop_by_indices_resizes_as_pil_does():
    image = smooth_image(64, 64)
    box = torch.tensor([[[8, 10], [40, 10], [40, 50], [8, 50]]])
    out = kornia.geometry.transform.crop_by_indices(
        image[None] / 255, box, (64, 64), interpolation="bicubic", antialias=True
    )
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    expected = picture.crop((8, 10, 41, 51)).resize((64, 64), Image.Resampling.BICUBIC)
    expected = torch.from_numpy(np.asarray(expected).copy()).permute(2, 0, 1)
    assert (255 * out[0] - expected).abs().max() <= 1
