"""The list of public collections: changed by several at once, read freshly, closed if in doubt."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geo_platform.api.auth.principal import Principal, Scope, anonymous_reader
from geo_platform.errors import ParameterInvalid, StoreUnavailable
from geo_platform.messages import MESSAGES
from geo_platform.serving.public import FRESH_S, KEY, PublicReading
from geo_platform.storage.local.folder import FolderStore


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_nothing_is_public_until_it_is_published(tmp_path: Path) -> None:
    public = PublicReading(FolderStore(tmp_path))
    assert public.names() == ()
    assert not public.is_public("rasters")
    with pytest.raises(ParameterInvalid, match="is not public"):
        public.unpublish("rasters")


def test_a_change_is_seen_by_a_running_server_within_seconds(tmp_path: Path) -> None:
    clock = Clock()
    serving = PublicReading(FolderStore(tmp_path), now_s=clock)
    assert serving.names() == ()
    operator = PublicReading(FolderStore(tmp_path))
    assert operator.publish("rasters")
    assert not operator.publish("rasters")
    clock.now_s += FRESH_S
    assert serving.names() == ("rasters",)
    assert serving.is_public("rasters")
    operator.unpublish("rasters")
    clock.now_s += FRESH_S
    assert serving.names() == ()


def test_operators_who_publish_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    names = [f"collection-{number}" for number in range(4)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: PublicReading(FolderStore(tmp_path)).publish(name), names))
    assert PublicReading(FolderStore(tmp_path)).stored() == tuple(names)


@pytest.mark.parametrize("name", ["*", "", "a/b", "..", "ras*", "[a-z]"])
def test_a_pattern_is_not_the_name_of_a_collection(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterInvalid):
        PublicReading(FolderStore(tmp_path)).publish(name)


def test_a_list_that_cannot_be_read_makes_nothing_public(tmp_path: Path) -> None:
    objects = FolderStore(tmp_path)
    PublicReading(objects).publish("rasters")
    objects.put_bytes(MESSAGES, KEY, b"damaged", metadata={})
    assert not PublicReading(objects).is_public("rasters")

    def unavailable(*_: str) -> bytes:
        raise StoreUnavailable("The store does not answer.")

    objects.read_bytes = unavailable  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        PublicReading(objects).names()


def test_an_anonymous_reader_reads_only_the_named_collections() -> None:
    reader = anonymous_reader(("rasters",))
    assert reader == Principal("anonymous", Scope.reader, collections=("rasters",))
    assert reader.is_anonymous
    assert reader.has_allow_list
    with pytest.raises(ValueError, match="no collection"):
        anonymous_reader(())
