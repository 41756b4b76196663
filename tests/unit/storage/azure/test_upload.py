"""The size of the blocks of an upload."""

import pytest

from geo_platform.storage.azure.upload import BLOCK_BYTES, MAX_BLOCKS, block_bytes


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK_BYTES * MAX_BLOCKS, BLOCK_BYTES * MAX_BLOCKS + 1, 10**12, 190 * 2**40]
)
def test_fifty_thousand_blocks_are_enough_for_any_size(size: int) -> None:
    block = block_bytes(size)
    assert block % 2**20 == 0
    assert -(-size // block) <= MAX_BLOCKS
    assert BLOCK_BYTES <= block <= 4000 * 2**20
