"""Randomness from (seed, purpose, step)."""

import torch

from linvit_runtime.train.keys import Purpose, generator, key, order, reseed


def test_key_is_splitmix64() -> None:
    # First output of the published generator for seed 0.
    assert key(0) == 0xE220A8397B1DCDAF


def test_keys_differ_in_every_part_and_in_order() -> None:
    keys = [key(a, b, c) for a in range(8) for b in range(8) for c in range(8)]
    assert len(set(keys)) == len(keys)
    assert key(1, 2) != key(2, 1)
    assert key(0) != key(0, 0)
    assert key(-1) == key((1 << 64) - 1), "negative numbers wrap"
    assert all(0 <= k < 1 << 64 for k in keys)


def test_an_epoch_uses_every_image_once() -> None:
    steps = [order(5, step, images=100, batch=10) for step in range(10)]
    assert sorted(torch.cat(steps).tolist()) == list(range(100))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first = order(5, 0, images=100, batch=10)
    assert torch.equal(first, order(5, 0, images=100, batch=10))
    assert not torch.equal(first, order(5, 10, images=100, batch=10))
    assert not torch.equal(first, order(6, 0, images=100, batch=10))


def test_an_incomplete_batch_is_left_out() -> None:
    used = torch.cat([order(5, step, images=35, batch=10) for step in range(3)])
    assert used.unique().numel() == 30
    later = order(5, 3, images=35, batch=10)
    assert not torch.equal(later, used[:10]), "step 3 begins the next epoch"


def test_reseed_decides_what_layers_draw() -> None:
    drawn = []
    for step in (1, 2, 1):
        reseed(9, Purpose.DROPOUT, step)
        drawn.append(torch.rand(5))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], torch.rand(5, generator=generator(9, Purpose.DROPOUT, 1)))
