"""What the pool refuses, as facts in its own language; `app/errors.py` alone knows HTTP.

Each leaf's docstring is its title; the message says what to do.
"""


class PoolError(Exception):
    """The pool cannot do what was asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ModelNotFound(PoolError):
    """No such model."""


class BuildNotFound(PoolError):
    """No such build."""


class MetaLearnerNotFound(PoolError):
    """No such meta-learner."""


class AliasNotFound(PoolError):
    """No such alias."""


class AliasMoved(PoolError):
    """The alias points elsewhere by now."""


class TooManyAliases(PoolError):
    """The pool has all the aliases it may have."""


class NotExportable(PoolError):
    """This cannot be taken along."""


class AdaptationNotFound(PoolError):
    """No such adaptation, here and now."""


class UploadNotFound(PoolError):
    """No such upload."""


class PoolNotFound(PoolError):
    """No such pool."""


class OrganisationNotFound(PoolError):
    """No such organisation."""


class MemberNotFound(PoolError):
    """The organisation is no member of the pool."""


class KeyNotFound(PoolError):
    """No such API key."""


class PoolExists(PoolError):
    """A pool of this name exists."""


class PoolNameAmbiguous(PoolError):
    """Several pools have this name."""


class OrganisationExists(PoolError):
    """An organisation of this name exists."""


class LastOwner(PoolError):
    """A pool keeps at least one owner."""


class ContributedAlready(PoolError):
    """Another member has contributed the same checkpoint."""


class KeyEnded(PoolError):
    """The API key has ended."""


class ChecksumMismatch(PoolError):
    """The bytes received are not the bytes the manifest describes."""


class EmptyCheckpoint(PoolError):
    """The checkpoint part is empty."""


class UploadIncomplete(PoolError):
    """Parts of the upload are missing or have the wrong size."""


class UploadEnded(PoolError):
    """The upload takes no parts any more."""


class PartMismatch(PoolError):
    """The bytes received are not the part that was announced."""


class ManifestConflict(PoolError):
    """The same checkpoint is already in the pool under another description."""


class ModelInUse(PoolError):
    """The model cannot be changed in its present state."""


class NoUsableModels(PoolError):
    """The pool has too few usable models for a build."""


class InvalidRecipe(PoolError):
    """The recipe cannot be run."""


class BuildFinished(PoolError):
    """The build has already ended."""


class BuildNotResumable(PoolError):
    """The build cannot be resumed."""


class MetaLearnerRetired(PoolError):
    """The meta-learner is retired."""


class NotAuthenticated(PoolError):
    """The request carries no valid API key."""


class NotAllowed(PoolError):
    """The API key does not have the scope this needs."""


class RoleRequired(PoolError):
    """The organisation does not have the role this needs in the pool."""


class InvalidInput(PoolError):
    """A part of the request cannot be used."""

    def __init__(self, message: str, *, part: str) -> None:
        super().__init__(message)
        self.part = part


class TooLarge(PoolError):
    """The request is larger than this server takes."""


class TooSlow(PoolError):
    """The body of the request came too slowly, or stopped."""


class StorageUnavailable(PoolError):
    """The object store does not answer."""


class StorageFull(PoolError):
    """The object store has no room left."""


class ObjectMissing(PoolError):
    """An object that a record names is not in the store."""


class TryLater(PoolError):
    """The request can succeed later as it is."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaExceeded(TryLater):
    """The organisation has used up one of its quotas."""


class RateLimited(TryLater):
    """Too many requests in a short time."""


class RequestInFlight(TryLater):
    """The first request with this Idempotency-Key is still at work."""


class ConcurrentChange(TryLater):
    """Another request changed the same records at the same time."""


class DatabaseUnavailable(TryLater):
    """The database does not answer."""


class IdempotencyKeyReused(PoolError):
    """The Idempotency-Key was used for another request."""


class TooManyFollowers(TryLater):
    """Too many clients follow jobs at once."""


class LeaseLost(PoolError):
    """This run of the job is no longer the one that counts."""
