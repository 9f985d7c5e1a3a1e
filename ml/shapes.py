"""Shape annotations: checked by jaxtyping where it is installed (tests), inert where it is not.

`ml` must import on a machine that has torch alone, so jaxtyping is not a dependency of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
else:
    try:
        from jaxtyping import Float, Int
    except ModuleNotFoundError:

        class _AnyShape:
            """Stands where a shape would: `Float[Tensor, "batch way"]` is then just `Tensor`."""

            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Float = Int = _AnyShape
