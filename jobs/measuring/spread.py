"""Preparing images on all cores: Ray Data beside a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace

import ray

from jobs.measuring.alternate import Pair
from jobs.measuring.pool import fill, write_tar
from jobs.measuring.reading import drawings
from jobs.measuring.setting import Setting, seconds_of
from naruto_add.data.prepare import prepare
from naruto_add.on_ray import cluster
from naruto_add.on_ray.data import ray_map

QUICK_IMAGES, IMAGES = 8, 256


def images(setting: Setting) -> Pair:
    """Images a second from JPEG files of 512 px to shards; Ray and the pool are there before.

    The pool decodes, scales, encodes and writes a tar that webdataset reads; it neither checks nor hashes.
    """
    count, cores = (QUICK_IMAGES if setting.quick else IMAGES), len(os.sched_getaffinity(0))
    folder, out = drawings(setting, count), setting.folder / "prepared"
    config = replace(setting.recipe.data, source=str(folder), num_images=None, num_heldout=2)
    paths = sorted(folder.glob("*.jpg"))
    cluster.start(setting.recipe.compute)
    pool = multiprocessing.get_context("spawn").Pool(cores)
    out.mkdir(exist_ok=True)

    def close() -> None:
        pool.terminate()
        ray.shutdown()

    return Pair(
        lambda: count / seconds_of(lambda: prepare(config, 0, out, ray_map)),
        lambda: count / seconds_of(lambda: write_tar(out / "pool.tar", fill(pool, paths, config.size_px))),
        close=close,
    )
