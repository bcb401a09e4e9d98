"""The whole schema of a recipe: frozen, closed, validated, units in the names; default < YAML recipe < flags.

Only pydantic and the standard library are imported here, so that `--help` and every check of settings are instant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

CLOSED = ConfigDict(extra="forbid")

PositiveInt = Annotated[int, Field(gt=0)]
NaturalInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NaturalFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["fp32", "bf16", "auto"]


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class DataConfig:
    """Where the captioned images come from and how they become shards."""

    source: str = "builtin"
    """builtin | a folder | a Parquet file or folder | a Hugging Face dataset id or saved dataset | an s3:// URI."""
    revision: str | None = None
    """Commit of the Hugging Face dataset; pinned so that the same recipe gives the same data."""
    world: Literal["ninja", "base"] = "ninja"
    """Which part of the built-in universe to draw (source: builtin)."""
    num_images: PositiveInt | None = 1536
    """How many training images to draw (builtin), or at most to take (others; null: all)."""
    num_heldout: PositiveInt = 384
    """How many images are kept out of training for evaluation; at most a third of what is there."""
    size_px: Annotated[int, Field(ge=32, le=2048, multiple_of=8)] = 128
    """Side of the square training images, in pixels."""
    max_megapixels: PositiveFloat = 33.0
    """Larger images are refused from their header, before decoding."""
    max_caption_tokens: PositiveInt | None = None
    """Captions longer than this are reported and cut at a word; null: what the text encoder takes."""
    duplicate_bits: NaturalInt = 3
    """Images whose 64-bit perceptual hashes differ in at most this many bits count as one."""
    max_rejected: Fraction = 0.5
    """Stop if more than this share of the images is rejected."""
    caption_model: str | None = None
    """A transformers image-to-text folder or hub id that captions images without caption; null: they are rejected."""
    shard_images: PositiveInt = 256
    """Images per shard (WebDataset tar)."""
    s3_endpoint: str | None = None
    """Another S3-compatible endpoint, e.g. http://127.0.0.1:9000."""


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class OptimConfig:
    """One optimizer and its pace. All intervals are counted in images seen, never in steps."""

    images: PositiveInt
    """Training images seen in all; rounded up to whole steps."""
    batch_size: PositiveInt
    """Images per optimizer step, over all workers and accumulation steps."""
    accumulation: PositiveInt = 1
    """Micro-batches per step and worker; memory falls, nothing else changes."""
    learning_rate: PositiveFloat
    warmup_images: NaturalInt = 0
    """The learning rate rises linearly over these images, then falls as a half cosine to `final_lr` x its peak."""
    final_lr: Fraction = 0.1
    weight_decay: NaturalFloat = 0.01
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    max_grad_norm: PositiveFloat = 1.0
    ema_images: NaturalInt = 1000
    """Half-life of the weights' moving average, in images; 0: no average."""
    checkpoint_images: PositiveInt = 2000
    """Save the whole training state every so many images."""
    preview_images: PositiveInt = 2000
    """Draw the preview prompts every so many images, from image 0 on."""
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class TeacherConfig:
    """Fine-tuning of a Stable Diffusion model on the shards."""

    base: str = "mini"
    """mini (shipped in the package), a diffusers folder, or a hub id."""
    revision: str | None = None
    """Commit of the hub model."""
    lora_rank: PositiveInt | None = None
    """Fine-tune low-rank adapters and merge them at the end; null: all weights."""
    snr_gamma: PositiveFloat | None = 5.0
    """Min-SNR weighting (Hang et al. 2023, section 3.4); null: none."""
    text_dropout: Fraction = 0.1
    """Share of captions replaced by the empty one, for guidance."""
    compact_share: Fraction = 0.0
    """Share of steps that train the weights through the compact student's path (see distill.size), so that the
    surgery of the distill stage hurts less; 0 for ordinary fine-tuning."""
    decoder_share: Fraction = 0.0
    """Share of the images from a crop of which the autoencoder's decoder learns too, so that it draws the lines and
    textures of this universe; 0: the base's own decoder."""
    decoder_crop_px: PositiveInt = 64
    """Side of such a crop, in whole latents and at most the image."""
    decoder_learning_rate: PositiveFloat = 1e-3
    optim: OptimConfig


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class DistillConfig:
    """Distillation into a compact few-step student; sections and equations are those of ADD (arXiv 2311.17042)."""

    method: Literal["add", "ladd", "lcm", "output"] = "add"
    """add: adversarial, heads on pixels; ladd: adversarial among latents, heads on the teacher's own features; lcm:
    latent consistency; output: regression onto the teacher's results."""
    size: Literal["full", "base", "small", "tiny"] = "base"
    """Surgery on the teacher's UNet (BK-SDM): which blocks the student keeps; full: all."""
    head_start: str | None = None
    """A few-step vector to add to the inherited weights (folder; `mini`: the shipped one); null: surgery alone."""
    student_timesteps: tuple[Annotated[int, Field(ge=0, lt=1000)], ...] = (249, 499, 749, 999)
    """tau_1..tau_N (section 3.1); the last one starts from pure noise (zero terminal SNR)."""
    terminal_share: Fraction = 0.25
    """Share of samples at tau_N; the others are uniform. 1/N is the paper's uniform draw."""
    simulated_share: Fraction = 0.0
    """Share of samples that start from the student's own earlier steps instead of a noised real image (DMD2's backward
    simulation; methods add and ladd)."""
    synthetic_steps: NaturalInt = 0
    """Train on what the teacher draws for the captions in so many steps instead of on the real images, as LADD does;
    0: real images."""
    distill_weight: NaturalFloat = 2.5
    """lambda of equation 1. LADD sets it to 0 on synthetic images."""
    perceptual_weight: NaturalFloat = 0.0
    """Weight of a perceptual distance, by the heads' feature network, beside equation 4's squared one (add)."""
    feature_weight: NaturalFloat = 1.0
    """Weight of the distance between the features of the student's and the teacher's stages (method output)."""
    target: Literal["renoised", "trajectory"] = "renoised"
    """What the teacher denoises for the distillation term of add and ladd. renoised: the student's own guess under new
    noise, equation 4; trajectory: the student's input, in `teacher_steps` steps and weighted 1, as `output` does."""
    weighting: Literal["exponential", "sds", "nfsd"] = "exponential"
    """c(t) of equation 4 and appendix A; nfsd: Noise-Free Score Distillation."""
    teacher_guidance: NaturalFloat = 3.0
    """Guidance scale of the teacher's target."""
    teacher_steps: PositiveInt = 1
    """DPM-Solver++ 2M steps of the teacher for its target (table 1f); 4 to 16 for output. lcm always takes one."""
    negative_prompt: str | None = None
    """What the images should not be, for nfsd (section 4.2 of its paper); null: its domain term is left out above
    t = 200."""
    adversarial_weight: NaturalFloat = 1.0
    adversarial_warmup_images: NaturalInt = 0
    """The adversarial weight rises from 0 over these images."""
    r1_gamma: NaturalFloat = 1e-5
    """gamma of equation 3: R1 on each head's input features."""
    features: Literal["efficientnet_lite0", "efficientnet_lite1", "dinov2_vits14"] = "efficientnet_lite0"
    """Frozen feature network of the discriminator."""
    scales: Annotated[tuple[Literal[1, 2, 4], ...], Field(min_length=1)] = (1,)
    """The heads see the pictures whole (1), at half their side (2) or at a quarter (4), each scale with heads of
    its own (method add)."""
    two_spaces: bool = False
    """Heads on the teacher's features of the latents too, as in ladd (method add)."""
    real_images: Literal["pixels", "decoded"] = "pixels"
    """What the heads take for real: the training images, or what the autoencoder makes of them. The latter spares the
    student blame for the autoencoder's own losses."""
    conditioning: Literal["none", "text", "image", "both"] = "both"
    """What the discriminator heads are conditioned on, by projection; heads on latents have no use for the image."""
    mismatch_weight: NaturalFloat = 0.0
    """Weight of real images under other captions, which the heads should refuse (methods add and ladd)."""
    augment: bool = True
    """Differentiable augmentation of real and fake images alike (translation, colour, cutout)."""
    heads_learning_rate: PositiveFloat = 1e-4
    heads_steps: PositiveInt = 1
    """Discriminator updates per student update."""
    heads_renewal: Fraction = 0.0
    """Chance of each head, at each step, to be drawn anew, against overfitting (methods add and ladd)."""
    collapse_gap: PositiveFloat = 15.0
    """Health gate: when the running logit gap D(real) - D(fake) passes this, go back to the last checkpoint and on with
    new and slower heads, three times at most."""
    measure_images: NaturalInt = 0
    """Measure the distance to the held-out images every so many images and at the end, into the metrics; 0: never."""
    measure_pictures: Annotated[int, Field(ge=2)] = 64
    """Pictures of such a measurement, of held-out captions in export.steps steps, looked at by evaluate.extractor."""
    survey_pictures: Annotated[int, Field(ge=2)] = 256
    """Pictures of the last measurement, of other captions and noises, in each of evaluate.student_steps; by them
    `tune` compares its best trial with the recipe's own settings."""
    optim: OptimConfig


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class EvaluateConfig:
    """Scores, floors and pictures. Every score carries its N."""

    num_images: Annotated[int, Field(ge=2)] = 64
    """Generated images per model and step count; the held-out captions in order, several seeds if they run out."""
    student_steps: tuple[PositiveInt, ...] = (4, 2, 1)
    teacher_steps: tuple[PositiveInt, ...] = (50, 25, 4, 2, 1)
    base_steps: tuple[PositiveInt, ...] = (50,)
    guidance_scale: NaturalFloat = 3.0
    """For teacher and base; the student needs none."""
    floor_images: PositiveInt = 500
    """At most so many pictures of the teacher are drawn once more, from other noise, for `floor/teacher`."""
    latency_steps: PositiveInt = 100
    """Teacher steps of the founding report's protocol, timed and drawn for the golden prompts only."""
    latency_repeats: PositiveInt = 3
    diversity_prompts: PositiveInt = 8
    diversity_seeds: Annotated[int, Field(ge=2)] = 2
    memorisation_images: PositiveInt = 2048
    """Training images among which the nearest neighbours of generated ones are sought; all, if there are fewer."""
    extractor: Literal["efficientnet_lite1", "efficientnet_lite0", "dinov2_vits14", "inception"] = "efficientnet_lite1"
    """Feature network of the distances; another one than the discriminator's, so that nothing is trained on its judge.
    inception needs `weights`."""
    weights: str | None = None
    """Folder with the standard weights (Inception for FID, AlexNet for LPIPS); null: EfficientNet-Lite stands in."""
    batch_size: PositiveInt = 16
    bootstrap: PositiveInt = 200
    """Resamples for the 95 % intervals."""


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class ExportConfig:
    """What the bundle holds."""

    steps: Literal[1, 2, 4] = 4
    """Steps of the bundle's default call."""
    half: bool = False
    """Store the weights of UNet and autoencoder in 16 bits, which halves the folder; they are computed with in 32 all
    the same."""
    title: str = "naruto-add student"
    license: str = "apache-2.0"


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class ComputeConfig:
    """Where training runs."""

    launcher: Literal["ray", "inline"] = "ray"
    """ray: Ray Train workers fed by Ray Data; inline: in this process, one worker (tests, notebooks)."""
    workers: PositiveInt = 2
    finetune_workers: PositiveInt | None = None
    """Workers of fine-tuning, where others serve it better than `workers`; null: as many. A step too small to share
    is done sooner by one."""
    cpus_per_worker: PositiveFloat = 0.5
    """Ray's reservation; leave CPUs for Ray Data or it starves."""
    threads_per_worker: PositiveInt = 1
    """Real threads; threads x workers should not exceed the cores. With launcher inline also the processes that prepare
    images."""
    gpus_per_worker: NaturalFloat = 0.0
    cuda_graphs: bool = False
    """On a GPU: record the networks' passes and replay them, for those as small as `mini`, which wait for launches. Not
    with gradient_checkpointing; the learning network's own passes not with accumulation or a zero_stage."""
    precision: Precision = "fp32"
    """auto: bf16 in training and evaluation where the GPU or processor has matrix units for it, else fp32."""
    zero_stage: Literal[0, 1, 2, 3] | None = 2
    """DeepSpeed ZeRO stage of the distilled student; null: plain torch."""
    address: str | None = None
    """Ray cluster to join; null: start one here."""

    @property
    def finetuning(self) -> ComputeConfig:
        """The same with fine-tuning's number of workers."""
        return replace(self, workers=self.finetune_workers or self.workers)

    cluster_grows: bool = False
    """The cluster starts machines when they are asked for (`ray up` or KubeRay with autoscaling): wait for workers that
    do not fit yet, instead of refusing them."""


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class TrackConfig:
    """Where training's records go beside metrics.jsonl and TensorBoard, which stay in the run's folder.

    Nothing leaves the machine unless it is asked for here. Keys come from the trackers' own environment variables or
    files, never from a recipe.
    """

    mlflow: str | None = None
    """An MLflow tracking server, http://HOST:PORT; null: none. Needs `pip install mlflow-skinny`; with the whole mlflow
    also sqlite:////data/mlflow.db."""
    wandb: str | None = None
    """A Weights & Biases PROJECT or ENTITY/PROJECT; null: none. Needs `pip install wandb`; WANDB_MODE=offline keeps
    its files here."""


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class Recipe:
    """Everything that decides a run."""

    name: str
    seed: NaturalInt = 0
    """Every random number is addressed from here."""
    prompts: tuple[str, ...] = (
        "Naruto meditating on a mountain under the sunset",
        "Ninja en armure sombre lançant un shuriken",
        "Personnage blond avec des marques sur le visage et des vêtements orange",
        "Un ninja encapuchonné manipulant du feu bleu dans une forêt sombre",
    )
    """Golden prompts: previewed in training, always shown in the report."""
    data: DataConfig
    teacher: TeacherConfig
    distill: DistillConfig
    evaluate: EvaluateConfig
    export: ExportConfig
    compute: ComputeConfig
    track: TrackConfig = TrackConfig()
