"""Training EnCodec networks: the known traps, exact resumption, fine-tuning that keeps what the network had."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.codec.encodec_shape import EncodecConfig
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.data.files import AudioFile, open_audio
from audiolm_cli.events import Event, OnEvent, Progress, ignore
from audiolm_cli.training.codec import encodec as encodec_training
from audiolm_cli.training.codec.adversary import Adversary
from audiolm_cli.training.codec.encodec import EncodecTrainee, even_out_layers
from audiolm_cli.training.codec.loop import CodecTrainer
from audiolm_cli.training.codec.waveforms import mel_loss, stft_loss

SHAPE = EncodecConfig(
    name="tiny", sample_rate_hz=8000, ratios=(5, 4, 4), num_filters=4, dimension=16, num_codebooks=2, codebook_size=16
)
CONFIG = CodecTrainConfig(
    steps=7, clips=2, clip_s=0.3, warmup_steps=2, quantize_from=0.2, state_every=3, ema_decay=0.9, seed=3
)


class StoppedError(Exception):
    """Stands for a run that was killed."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[AudioFile]:
    """Four of three seconds each: tones that change every quarter of a second, with a little noise."""
    folder, files = tmp_path_factory.mktemp("recordings"), []
    for i in range(4):
        rng = np.random.default_rng(i)
        frequency_hz = np.repeat(rng.uniform(100, 1500, 12), 2000)
        loudness = np.repeat(rng.uniform(0.1, 0.5, 12), 2000)
        wav = loudness * np.sin(2 * np.pi * np.cumsum(frequency_hz) / 8000) + 0.001 * rng.standard_normal(24_000)
        soundfile.write(folder / f"{i}.wav", wav.astype(np.float32), 8000, subtype="FLOAT")
        files.append(open_audio(folder / f"{i}.wav"))
    return files


def trainer_of(
    files: list[AudioFile],
    folder: Path,
    on_event: OnEvent = ignore,
    config: CodecTrainConfig = CONFIG,
    codec: EncodecCodec | None = None,
) -> CodecTrainer:
    """A trainer of a tiny network from nothing, or of a codec that is there."""
    init = None if codec is None else "hash"
    codec = codec or EncodecCodec.untrained(SHAPE)
    torch.manual_seed(torch.seed())  # nothing may depend on the process's random state from here on
    return CodecTrainer(EncodecTrainee(codec, config), config, files[:3], files[3:], folder, on_event, init)


def stop_at(step: int) -> OnEvent:
    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done == step:
            raise StoppedError

    return listen


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def noise(clips: int, samples: int, seed: int = 0) -> Tensor:
    """Waveforms [clips, samples] whose loudness rises and falls."""
    generator = torch.Generator().manual_seed(seed)
    swell = (torch.arange(samples) / 700).sin().square() + 0.05
    return 0.2 * swell * torch.randn(clips, samples, generator=generator)


@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, adversarial_from=3)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    recordings: list[AudioFile], tmp_path: Path, config: CodecTrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, weights, codebooks, averages, the adversary, and the codec that comes out."""
    if config.adversarial_from is not None:
        monkeypatch.setattr(encodec_training, "Adversary", lambda *args: Adversary(*args, filters=2))
    whole = trainer_of(recordings, tmp_path / "whole", config=config)
    losses = whole.run()
    for step in (1, 5):
        with pytest.raises(StoppedError):
            trainer_of(recordings, tmp_path / "broken", stop_at(step), config).run()
    ended = trainer_of(recordings, tmp_path / "broken", config=config)
    assert ended.run() == losses
    assert same(ended.network.state_dict(), whole.network.state_dict())
    assert torch.equal(ended.quantizer.sums, whole.quantizer.sums)
    assert same(ended.trainee.extra_state(), whole.trainee.extra_state())
    codecs = [trainer.trainee.codec for trainer in (ended, whole)]
    assert all(isinstance(codec, EncodecCodec) for codec in codecs)
    assert same(*(codec.state() for codec in codecs if isinstance(codec, EncodecCodec)))


def test_as_torch_initialises_it_the_encoder_hardly_varies_over_time_and_evened_out_it_does() -> None:
    """The share of the latents' variance that lies in time, not in a constant per channel."""
    wav = noise(4, 8000)
    shares = []
    for even in (False, True):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            network = encodec_training.EncodecNetwork(EncodecCodec.untrained(SHAPE))
            for name, parameter in network.named_parameters():
                if name.endswith("weight_g"):
                    parameter.div_(math.sqrt(3))  # which `untrained` multiplies by
            outputs = even_out_layers(network.encoder, wav[:, None]) if even else network.encoder(wav[:, None])
            shares.append((outputs.std(dim=(0, 2)).square().mean() / outputs.square().mean()).item())
            torch.testing.assert_close(network.encoder(wav[:, None]), outputs, atol=1e-4, rtol=1e-3)
    assert shares[0] < 0.3 < 0.95 < shares[1], shares


def test_evened_out_the_decoder_is_as_loud_as_the_clips(recordings: list[AudioFile], tmp_path: Path) -> None:
    trainer = trainer_of(recordings, tmp_path)
    wav = next(trainer._endless_clips("components"))
    trainer.trainee.initialise(iter([wav]), 0)
    with torch.no_grad():
        made = trainer.trainee.outputs(trainer.trainee.latents(wav))
    assert made.std().item() == pytest.approx(wav.std().item(), rel=0.02)


def test_it_learns_and_does_not_collapse(recordings: list[AudioFile], tmp_path: Path) -> None:
    """From nothing: the loss falls, and after k-means and on to the end most codes of every codebook are in use."""
    config = dataclasses.replace(CONFIG, steps=40, state_every=40, clips=4, clip_s=0.4, learning_rate=3e-3)
    usage: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done == 9:
            usage.extend(trainer.quantizer.perplexities())

    trainer = trainer_of(recordings, tmp_path, listen, config)
    trainer.trainee.initialise(trainer._endless_clips("components"), config.seed)
    before = trainer.evaluate()
    trainer = trainer_of(recordings, tmp_path, listen, config)
    after = trainer.run()
    assert after["mel"] + after["stft"] < 0.8 * (before["mel"] + before["stft"]), (before, after)
    assert min(usage) > 0.5 * SHAPE.codebook_size, usage
    assert min(trainer.quantizer.perplexities()) > 0.4 * SHAPE.codebook_size


def test_dead_codes_come_back_a_few_at_a_time(recordings: list[AudioFile], tmp_path: Path) -> None:
    """And stay: their averages start anew with them, so that the next step does not undo it."""
    trainer = trainer_of(recordings, tmp_path, config=dataclasses.replace(CONFIG, consistency=0.0))
    trainer.trainee.initialise(trainer._endless_clips("components"), 0)
    trainer._start_quantizer()
    dead = torch.arange(7)
    trainer.quantizer.codebooks[:, dead] = 1e3
    trainer.quantizer.counts[:, dead], trainer.quantizer.sums[:, dead] = 0.0, 0.0
    living = []
    for step in range(4):
        trainer.step = step
        trainer._train_step()
        living.append((trainer.quantizer.counts > 0.03).sum(-1).tolist())
    assert living == [[12, 12], [15, 15], [16, 16], [16, 16]]


def test_fine_tuning_begins_where_the_codec_stands(recordings: list[AudioFile], tmp_path: Path) -> None:
    """What is measured before the first step is what the codec itself makes of the clips; its codebooks are kept."""
    codec = EncodecCodec.untrained(SHAPE, seed=5)
    trainer = trainer_of(recordings, tmp_path, codec=codec)
    trainer.trainee.take_codebooks()
    first = trainer.evaluate(8)
    wav = trainer._held_out_clips(8)
    made = codec.decode(codec.encode(wav[:, None]))[:, 0]
    assert first["mel"] == pytest.approx(mel_loss(made, wav, 8000).item(), rel=1e-3)
    assert first["stft"] == pytest.approx(stft_loss(made, wav).item(), rel=1e-3)
    for k, layer in enumerate(codec.network.quantizer.vq.layers):
        assert torch.equal(trainer.quantizer.codebooks[k], layer._codebook.embed)
    assert trainer.quantizer.counts.sum(-1).tolist() == pytest.approx([16, 16])


def test_the_use_of_codes_goes_with_the_codec(recordings: list[AudioFile], tmp_path: Path) -> None:
    """Fine-tuning what was trained here starts from the averages that training ended with."""
    trainer = trainer_of(recordings, tmp_path / "first")
    trainer.run()
    assert isinstance(trainer.codec, EncodecCodec)
    copy = EncodecCodec.from_state(trainer.codec.state(), SHAPE)
    again = trainer_of(recordings, tmp_path / "second", codec=copy)
    again.trainee.take_codebooks()
    torch.testing.assert_close(again.quantizer.codebooks, trainer.quantizer.codebooks)
    torch.testing.assert_close(
        again.quantizer.counts, trainer.quantizer.counts * (16 / trainer.quantizer.counts.sum(-1, keepdim=True))
    )


def test_losses_of_silence_and_of_like_signals() -> None:
    """Finite gradients in digital silence; nothing between equals; noise under the floor weighs next to nothing."""
    quiet = torch.zeros(1, 8000, requires_grad=True)
    for loss in (mel_loss(quiet, torch.zeros(1, 8000), 8000), stft_loss(quiet, torch.zeros(1, 8000))):
        assert loss.item() == 0
    (mel_loss(quiet, noise(1, 8000), 8000) + stft_loss(quiet, noise(1, 8000))).backward()
    assert quiet.grad is not None and quiet.grad.isfinite().all() and quiet.grad.norm() < 100
    hiss = 1e-6 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert mel_loss(hiss, torch.zeros(1, 8000), 8000) < 0.01
    assert stft_loss(hiss, torch.zeros(1, 8000)) < 0.01
    assert stft_loss(0.5 * noise(1, 8000), noise(1, 8000)).item() == pytest.approx(math.log10(2), abs=0.06)


def test_the_losses_see_pitch() -> None:
    """A semitone apart is far at full resolution, in every octave of a piano's middle."""
    time_s = torch.arange(16_000) / 32_000
    for pitch_hz in (110.0, 440.0, 1760.0):
        a, b = ((2 * math.pi * f * time_s).sin()[None] * 0.3 for f in (pitch_hz, pitch_hz * 2 ** (1 / 12)))
        assert stft_loss(a, b) > 10 * stft_loss(a, 0.99 * a)


def test_an_adversary_learns_to_tell_and_pulls_towards_the_truth() -> None:
    """Its loss falls below a blind guess, and what a codec is told then lies nearer to the truth than to the fake."""
    adversary = Adversary(torch.device("cpu"), 0, filters=4)
    for group in adversary.optimizer.param_groups:
        group["lr"] = 0.01
    true = torch.stack([(2 * math.pi * f * torch.arange(4000) / 8000).sin() for f in (200, 500)])
    fake = noise(2, 4000)
    losses = [adversary.learn(fake, true) for _ in range(30)]
    assert losses[-1] < 1 < losses[0]
    own, features = adversary.losses(fake, true)
    best, nothing = adversary.losses(true, true)
    assert best < own and nothing == 0 < features
    middle = ((fake + true) / 2).requires_grad_()
    loss = sum(adversary.losses(middle, true))
    assert isinstance(loss, Tensor)
    loss.backward()
    assert middle.grad is not None
    assert (middle.grad * (true - fake)).sum() < 0  # a step down the gradient is one towards the truth
    assert all(parameter.grad is None or not parameter.requires_grad for parameter in adversary.network.parameters())
