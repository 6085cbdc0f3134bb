"""Codes of one window, made a few frames at a time: the AR decoder ahead, the NAR decoder behind.

Knows nothing about audio, nor which frames are wanted when.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.cores import Cores
from audiolm_cli.devices import float64_device
from audiolm_cli.model.decode import GuidedAR, Timing, draw_frame, fill_codebooks, guidance_of
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.sampling import draw_uniforms


class StreamedWindow:
    """One continuation of a left context, in the making.

    The first codebook is that of `decode.generate` with the same generator: it is drawn from the same numbers. The
    further ones differ, since the NAR decoder hears less of what follows.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: Decoders,
        context: Tensor,
        geometry: Geometry,
        sampling: SamplingConfig,
        generator: torch.Generator,
        timing: Timing,
        cores: Cores,
    ) -> None:
        """Read the context codes [1, L, K]; `geometry` has no right context. Seconds are added to `timing`;
        `cores` knows which cores are free.
        """
        assert geometry.right == 0, geometry

        started = time.perf_counter()
        K, M = model.config.num_quantizers, geometry.gap
        self._home, context = context.device, context.to(model.device)
        self.geometry, self._model, self._context = geometry, model, context
        self._sampling, self._timing, self._cores = sampling, timing, cores

        # The numbers are drawn in the order of `decode.generate`: first codebook, then the others.
        N, exact = model.config.ar_codebooks, float64_device(model.device)
        self._noise = draw_uniforms([generator], M * N).view(1, M, N).to(exact)
        self._fine_noise = draw_uniforms([generator], M * K).view(1, K, M).to(exact)

        with cores.share():
            self._ar = GuidedAR(model, context, geometry, 1, guidance_of(sampling, model.config))
        self._ahead = torch.zeros(1, M, N, dtype=torch.long, device=context.device)
        timing.ar_s += time.perf_counter() - started

    @torch.inference_mode()
    def redraw(self, start: int, stop: int, generator: torch.Generator) -> None:
        """Draw other random numbers for the frames `start` to `stop`, and go back to the first of them."""
        fine = self._fine_noise[:, :, start:stop]
        first = self._noise[:, start:stop]
        self._noise[:, start:stop] = draw_uniforms([generator], first[0].numel()).view(first.shape)
        self._fine_noise[:, :, start:stop] = draw_uniforms([generator], fine[0].numel()).view(fine.shape)

        self._ar.rewind(start)

    @torch.inference_mode()
    def advance(self, stop: int) -> None:
        """Draw the AR decoder's codebooks of the frames up to `stop`."""
        started = time.perf_counter()
        with self._cores.step() as begin_step:
            for t in range(self._ar.done, stop):
                begin_step()
                previous = self._ahead[:, t - 1] if t else None
                self._ahead[:, t] = draw_frame(self._ar, previous, self._sampling, self._noise[:, t])

        self._timing.ar_s += time.perf_counter() - started

    @torch.inference_mode()
    def fill(self, made: Tensor, stop: int) -> Tensor:
        """Codes [1, n, K] of the frames after those `made` [1, m, K] up to `stop`, which `advance` has reached."""
        started = time.perf_counter()
        window, K = self._model.config.max_frames, self._model.config.num_quantizers
        start, elsewhere = made.shape[1], self.geometry.elsewhere

        # Half a window of what came before: more would cost more, and each call is to cost the same.
        past = torch.cat([self._context[:, elsewhere:], made.to(self._model.device)], dim=1)
        most = min(window // 2, window - elsewhere - (stop - start))

        target = self._ahead.new_zeros(1, stop - start, K)
        target[..., : self._ahead.shape[-1]] = self._ahead[:, start:stop]
        shape = Geometry(min(most, past.shape[1]), stop - start, elsewhere=elsewhere)
        context = shape.gather(past, elsewhere=self._context)  # [1, L, K]

        noise = self._fine_noise[:, :, start:stop]
        known = self._ahead.shape[-1]
        codes = fill_codebooks(self._model, context, target, shape, self._sampling, noise, known, self._cores)
        self._timing.nar_s += time.perf_counter() - started
        return codes.to(self._home)
