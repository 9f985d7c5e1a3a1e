"""What can go wrong inside `ml`, as facts; each leaf's docstring is its default message."""


class MlError(Exception):
    """Something in the machine-learning library cannot go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class UnknownBackbone(MlError):
    """The backbone is not on the allow-list."""


class CheckpointMismatch(MlError):
    """The checkpoint's tensors do not fit the backbone that its manifest names."""


class NoBatchNorm(MlError):
    """The checkpoint has no BatchNorm statistics, which inversion needs."""


class NonFiniteOutput(MlError):
    """The network answers noise with infinities or NaN."""


class UnreadableImage(MlError):
    """The bytes are no image of an accepted format (PNG, JPEG, WebP, BMP)."""


class ImageTooLarge(MlError):
    """The image has more pixels than the server decodes."""


class UnusablePool(MlError):
    """The teachers given do not suffice for this algorithm."""


class InvalidConfig(MlError):
    """The algorithm's configuration is not usable."""


class UnusableSupport(MlError):
    """The support set does not describe a task that this meta-learner can adapt to."""


class TooFewImages(MlError):
    """There are fewer classes, or fewer images of a class, than an episode needs."""


class NotPortable(MlError):
    """The network cannot be written down for another program."""
