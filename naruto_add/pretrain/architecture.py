"""The `mini` family: a Stable Diffusion in miniature, every part an ordinary diffusers or transformers class.

| part | class | size |
|---|---|---|
| autoencoder | AutoencoderTiny, 12 latent channels, side / 8 | 0.45 M parameters |
| UNet | UNet2DConditionModel (64, 96, 128), two layers a stage | 8.3 M parameters, 0.8 GFLOP a pass |
| text encoder | CLIPTextModel, 3 layers of 128 | 0.8 M parameters |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LATENT_CHANNELS = 12
TEXT_WIDTH = 128
MAX_TOKENS = 48
VOCABULARY = 1024
START, END = "<|startoftext|>", "<|endoftext|>"

SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}


def build_autoencoder() -> AutoencoderTiny:
    """Most convolutions at 1/2 and 1/4 of the side, few at the full one: decoding is what few steps wait for."""
    return AutoencoderTiny(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(0, 1, 3, 3),
        num_decoder_blocks=(2, 3, 2, 0),
    )


def build_unet() -> UNet2DConditionModel:
    """The teacher's UNet: attention to the text at 8 x 8 and 4 x 4, convolutions alone at 16 x 16.

    The text as a whole is added to the timestep's embedding, for what concerns the whole picture: place, hour, medium.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 96, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text encoder from nothing, for this tokenizer.

    Its embeddings start as large as what the layers add to them. With CLIP's own 0.02 the words are drowned: beside an
    untrained UNet all captions soon look the same, and the UNet learns to do without them.
    """
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=384,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    torch.nn.init.normal_(encoder.embeddings.token_embedding.weight, std=0.5)
    torch.nn.init.normal_(encoder.embeddings.position_embedding.weight, std=0.1)
    return encoder


def build_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer (lower case, byte-level pairs, word endings) whose merges are learned from captions."""
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learned.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learned.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(r" ", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, END],
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator(captions, trainer)
    return as_clip(learned)


def as_clip(learned: Tokenizer) -> CLIPTokenizer:
    """The same vocabulary and merges as transformers' CLIPTokenizer, which needs every byte with a word ending too."""
    import json

    model = json.loads(learned.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for letter in pre_tokenizers.ByteLevel.alphabet():
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, bos_token=START, eos_token=END, pad_token=END, unk_token=END,
        model_max_length=MAX_TOKENS,
    )  # fmt: skip
