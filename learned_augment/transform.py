"""LearnedAugment, a torchvision v2 transform that draws a plan and applies it with a backend."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.utils.data import get_worker_info
from torchvision import tv_tensors
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2
from torchvision.transforms.v2.functional import is_pure_tensor

from learned_augment import _validation
from learned_augment._settings import flag
from learned_augment.backends.dispatch import apply_batch, apply_image
from learned_augment.backends.targets import move_boxes, move_key_points, move_masks
from learned_augment.builders import as_policy
from learned_augment.policy import Plan, Policy
from learned_augment.sampling import HOST

__all__ = ["LearnedAugment"]

DEFAULT_POLICY = "dada-cifar10"
"""No other shipped policy is shown to be better in the comparison of the documentation."""


class LearnedAugment(v2.Transform):
    """Augment images with a learned policy, in the place of ``AutoAugment(...)``.

    ``policy.about["placement"]`` says where a policy goes. Policies that *replace* the base
    augmentation (DeepAA's, and those of a screening) are used alone. Other policies (DADA, Fast
    AutoAugment) go *after* crop and flip. Place the transform before normalization.

    Every image of a batch gets a draw of its own (torchvision shares one draw); a
    ``tv_tensors.Video`` gets one draw a clip. All randomness is drawn from torch's global CPU
    generator. Bounding boxes, masks and key points follow the ops that move pixels.

    Args:
        policy: Name of a shipped policy, path or Hub address of a ``.safetensors`` file, a
            ``Policy``, or a ``torchvision.transforms.AutoAugmentPolicy``.
        interpolation: Nearest (the papers'), bilinear or bicubic, for geometric ops; the enum,
            its name, or Pillow's number.
        fill: Color outside the image in the image's own scale (0 to 255, or 0 to 1 for floats). It
            is one number, one number for each color channel, or a dict that gives one of these for
            a type of input or for "others". PIL images with alpha accept one more number, for
            alpha, which is otherwise 0 there. None is 0, but the papers' gray for crop padding.
            Masks get 0 unless the dict names ``tv_tensors.Mask``.
        same_on_batch: Draw once for a whole batch, as torchvision does.
        size: Side of the output in pixels, as DeepAA's 224 on ImageNet. Resized crops get this
            size. Other images are cropped to it at the center; smaller ones are padded with 0.
            None keeps the input's size.
        generator: CPU generator to draw from instead of the global one. In a DataLoader's worker
            its seed is combined with the worker's, so that workers draw differently.

    Inputs: PIL images of mode RGB, L, RGBA, LA, P, CMYK; uint8 tensors (..., C, H, W) with 1 or 3
    channels; float tensors in [0, 1], differentiable. The output has the input's type, dtype,
    shape, device and memory format, and shares no memory with it. A NaN in a float image stays in
    its own channel.

    Raises:
        ValueError: For an unknown policy (the message lists the shipped ones), interpolation, size
            or a fill that is not finite; when called, for shapes, fills or targets that do not fit.
        TypeError: For a fill, generator or ``same_on_batch`` of another type; when called, for
            unsupported modes and dtypes, and for samples without exactly one image.
        RuntimeError: When it is traced or exported.

    Examples:
        >>> import torch
        >>> images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
        >>> LearnedAugment("dada-cifar10")(images).shape
        torch.Size([8, 3, 32, 32])
    """

    _transformed_types = (
        PIL.Image.Image,
        tv_tensors.Image,
        is_pure_tensor,
        tv_tensors.Video,
        tv_tensors.Mask,
        tv_tensors.BoundingBoxes,
        tv_tensors.KeyPoints,
    )

    def __init__(
        self,
        policy: str | Path | Policy | AutoAugmentPolicy = DEFAULT_POLICY,
        interpolation: InterpolationMode | str | int = InterpolationMode.NEAREST,
        fill: Any = None,
        *,
        same_on_batch: bool = False,
        size: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.policy = as_policy(policy)
        self.interpolation = _validation.check_interpolation(interpolation)
        self.fill = _validation.check_fill(fill)
        self.same_on_batch = flag("same_on_batch", same_on_batch)
        self.size = _validation.check_size(size)
        self.generator = _validation.check_generator(generator)
        self._worker: tuple[int, torch.Generator] | None = None

    def forward(self, *inputs: Any) -> Any:
        """Augment the one image in ``inputs`` and move its targets; the rest passes through."""
        if torch.jit.is_tracing() or torch.compiler.is_exporting():  # type: ignore[attr-defined]
            raise RuntimeError(
                "LearnedAugment cannot be traced or exported: every call draws anew. Export the "
                "model without its augmentation."
            )
        if is_compiling():
            return _uncompiled(self, *inputs)
        if not inputs:
            self.check_inputs([])  # which says what is expected
        if len(inputs) == 1 and _validation.is_image(inputs[0]):
            # The steps of super().forward, without its search for images inside of containers.
            items = list(inputs)
            self.check_inputs(items)
            return self.transform(inputs[0], self.make_params(items))
        return super().forward(*inputs)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Check the whole sample before anything is drawn."""
        if len(flat_inputs) > 1:
            needed = zip(flat_inputs, self._needs_transform_list(flat_inputs), strict=True)
            flat_inputs = [item for item, need in needed if need]
        _validation.check_sample(flat_inputs, self.fill)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw everything: a plan with one row for each image of the batch.

        Passing the result to ``transform`` replays the draw on any input of the same shape.

        Args:
            flat_inputs: A list that holds the image, as ``[images]``.

        Raises:
            TypeError: If it is no list, or holds no image.

        Examples:
            >>> augment = LearnedAugment("dada-cifar10")
            >>> images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
            >>> params = augment.make_params([images])
            >>> params["plan"]
            Plan(8 images, 2 layers, 16 ops)
            >>> torch.equal(augment.transform(images, params), augment.transform(images, params))
            True
        """
        image = _validation.first_image(flat_inputs)
        if isinstance(image, PIL.Image.Image) or image.dim() == 3:
            return {"plan": self.policy.sample(1, self._source())}
        lead = image.shape[:-3]
        frames = lead[-1] if isinstance(image, tv_tensors.Video) else 1
        count = lead.numel()
        draws = 1 if self.same_on_batch else count // max(frames, 1)
        plan = self.policy.sample(draws, self._source())
        if draws == count:
            return {"plan": plan}
        repeats = [0] * count if self.same_on_batch else torch.arange(count, device=HOST) // frames
        return {"plan": plan.rows(repeats)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply a plan to one image or target; nothing is drawn.

        Examples:
            >>> from learned_augment.builders import from_layers
            >>> augment = LearnedAugment(from_layers([[("Invert", 1.0, 0.0)]]))
            >>> image = torch.full((3, 1, 2), 55, dtype=torch.uint8)
            >>> augment.transform(image, augment.make_params([image]))[0]
            tensor([[200, 200]], dtype=torch.uint8)
        """
        plan: Plan = params["plan"]
        if isinstance(inpt, tv_tensors.Mask):
            level = _validation.mask_fill(self.fill, inpt)
            moved = move_masks(inpt.as_subclass(Tensor), plan, self.size, level)
            return tv_tensors.wrap(moved, like=inpt)
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            return move_boxes(inpt, plan.steps(0), self.size)
        if isinstance(inpt, tv_tensors.KeyPoints):
            return move_key_points(inpt, plan.steps(0), self.size)
        fill = _validation.fill_for(self.fill, inpt)
        mode, size = self.interpolation, self.size
        if isinstance(inpt, PIL.Image.Image):
            return apply_image(inpt, plan, interpolation=mode, fill=fill, size=size)
        plain = inpt if type(inpt) is Tensor else inpt.as_subclass(Tensor)
        out = apply_batch(plain, plan, interpolation=mode, fill=fill, size=size)
        if plain.dim() == 4 and not plain.is_contiguous():
            out = _like(out, plain)
        return out if is_pure_tensor(inpt) else tv_tensors.wrap(out, like=inpt)

    def extra_repr(self) -> str:
        """Return policy name, interpolation and fill; never the tables."""
        parts = [f"policy={self.policy.name!r}", f"interpolation={self.interpolation}"]
        parts.append(f"fill={self.fill}")
        parts += [f"same_on_batch={self.same_on_batch}"] if self.same_on_batch else []
        parts += [f"size={self.size}"] if self.size is not None else []
        return ", ".join(parts)

    def __getstate__(self) -> dict[str, Any]:
        """Write a generator as bytes: spawned workers cannot unpickle one."""
        state = {**self.__dict__, "_worker": None}
        if self.generator is not None:
            state["generator"] = self.generator.get_state().numpy().tobytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(self.generator, bytes):
            written = torch.frombuffer(bytearray(self.generator), dtype=torch.uint8)
            self.generator = torch.Generator().set_state(written)

    def _source(self) -> torch.Generator | None:
        """Return the generator to draw from; each DataLoader worker gets one of its own."""
        if self.generator is None or get_worker_info() is None:
            return self.generator
        # The worker's own seed, unless a ``worker_init_fn`` has set another one.
        own = torch.initial_seed()
        if self._worker is None or self._worker[0] != own:
            # With a sum or an exclusive or, seed 0 would draw the numbers of the worker itself.
            seeds = np.random.SeedSequence([self.generator.initial_seed(), own])
            seed = int(seeds.generate_state(1, np.uint64)[0])
            self._worker = (own, torch.Generator().manual_seed(seed))
        return self._worker[1]


def _like(out: Tensor, image: Tensor) -> Tensor:
    """Return a batch in the memory format of ``image``."""
    last = torch.channels_last
    return out.contiguous(memory_format=last) if image.is_contiguous(memory_format=last) else out


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _uncompiled(transform: LearnedAugment, *inputs: Any) -> Any:
    """Augment outside of the graph of ``torch.compile``, because a plan is data on the CPU."""
    return super(LearnedAugment, transform).forward(*inputs)
