"""What `mascing serve` was asked for, whichever engine runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from mascing.errors import ConfigError, MascingError, MaskError
from mascing.masks.mask import Mask
from mascing.models.checkpoints import one_line
from mascing.runs.mask_address import find_channel, mask_url
from mascing.runs.publications.followed_channel import FollowedChannel, RefusedError
from mascing.serving.choice import NO_MASK
from mascing.serving.following import Follower
from mascing.serving.held_masks import HeldMasks
from mascing.serving.mask_table import checked_name
from mascing.storage.object_storage import Storage


@dataclass(frozen=True)
class ServeOptions:
    """A model and the masks that it is served with.

    ``masks`` are the addresses of masks (files, URLs, ``behaviour@channel`` in ``storage``) by name, ``default`` one of
    these names or ``none``. ``follow`` is the channel whose mask is the default instead. ``control_anywhere`` lets the
    control endpoints answer more than clients of this machine. ``engine_args`` are arguments for the engine's own
    server.
    """

    model: str
    host: str
    port: int
    masks: Mapping[str, str]
    default: str | None
    follow: str | None
    storage: str
    slots: int
    control_anywhere: bool = False
    engine_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstMasks:
    """The masks that a server starts with, read before its model is loaded; ``followed`` is the channel's."""

    masks: Mapping[str, Mask]
    default: str | None
    channel: FollowedChannel | None
    followed: Mask | None = None

    @classmethod
    def of(cls, options: ServeOptions) -> "FirstMasks":
        """Read them. Raises MaskError, StorageError or ConfigError if the server could not start with them."""
        if options.default not in (None, NO_MASK, *options.masks):
            raise ConfigError(f"--default {options.default}: no mask has that name: add --mask {options.default}=URL")
        if options.default is not None and options.follow is not None:
            raise ConfigError("--default and --follow both say what the default is: give one")
        needed = len(options.masks) + (2 if options.follow is not None else 0)
        if needed > options.slots:
            following = ", and a channel that is followed takes two while it moves" if options.follow else ""
            raise ConfigError(
                f"--slots {options.slots}: the server needs {needed}, one for each mask{following}: raise it"
            )
        masks = {checked_name(name): _named(name, url, options.storage) for name, url in options.masks.items()}
        channel = followed = None
        if options.follow is not None:
            storage = Storage.open_to_read(options.storage)
            channel = FollowedChannel(storage, find_channel(storage, options.follow))
            if taken := masks.keys() & {options.follow, channel.address}:
                raise ConfigError(f"--mask {taken.pop()} has the name of the channel that is followed: give it another")
            with _told_of(channel):
                followed = channel.mask_in(channel.read()[0]).mask
        return cls(masks, None if options.default == NO_MASK else options.default, channel, followed)

    async def load(self, held: HeldMasks) -> Follower | None:
        """Bring them into the model; returns who follows the channel, whose ``run`` the server must run.

        Raises MaskError if one was made for another model.
        """
        for name, mask in self.masks.items():
            try:
                await held.load(name, mask, as_default=name == self.default)
            except MaskError as error:
                raise MaskError(f"--mask {name}: {error}") from error
        if self.channel is None:
            return None
        follower = Follower(self.channel, held)
        with _told_of(self.channel):
            await follower.start()
        return follower


@contextmanager
def _told_of(channel: FollowedChannel) -> Iterator[None]:
    """Say which option and channel an error is about."""
    try:
        yield
    except RefusedError as refused:
        raise RefusedError(refused.reason, f"--follow {channel.address}: {refused}") from refused


def _named(name: str, url: str, storage: str) -> Mask:
    try:
        return mask_at(url, storage)
    except MaskError as error:
        raise MaskError(f"--mask {name}={url}: {error}") from error


def mask_at(address: str, storage: str) -> Mask:
    """The mask at a path, a URL, or an address of the registry in ``storage``. Raises MaskError or StorageError."""
    try:
        return Mask.load(mask_url(address, storage))
    except MascingError:
        raise
    except Exception as error:  # the file systems behind a URL raise what they like
        raise MaskError(f"no mask can be read there ({one_line(error)}): check the path or the URL") from error
