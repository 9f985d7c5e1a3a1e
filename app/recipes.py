"""The second door to `ml`: an order's recipe, checked by the algorithm's own configuration.

Numbers only, no tensors; docs/adr/0002 says why the edge may look.
"""

from ml.algorithms import ALGORITHMS
from ml.errors import InvalidConfig
from pool.domain import Recipe
from pool.errors import InvalidRecipe


def check_recipe(recipe: Recipe) -> Recipe:
    """The recipe, if its algorithm exists and takes its numbers.

    Raises:
        InvalidRecipe: naming the algorithms there are, or the number that cannot be used.
    """
    if recipe.algorithm not in ALGORITHMS:
        raise InvalidRecipe(
            f"There is no algorithm {recipe.algorithm!r}; choose {', '.join(ALGORITHMS)}."
        )
    try:
        ALGORITHMS[recipe.algorithm].configure(recipe.config)
    except InvalidConfig as error:
        raise InvalidRecipe(f"recipe.config: {error}.") from error
    return recipe
