"""Names that a release before 0008 wrote beside the newer schema, made findable."""

from sqlalchemy import case, select, update

from pool.database.names import name_key
from pool.database.session import Database
from pool.database.tables import ModelRow

BATCH = 1000


def fold_left_names(database: Database) -> int:
    """Give the models a name key that lack one; how many there were. Safe while others write."""
    folded = 0
    while True:
        with database.write() as session:
            left = session.execute(
                select(ModelRow.id, ModelRow.name).where(ModelRow.name_key == "").limit(BATCH)
            ).all()
            if not left:
                return folded
            keys = {model_id: name_key(name) for model_id, name in left}
            session.execute(
                update(ModelRow)
                .where(ModelRow.id.in_(keys))
                .values(name_key=case(keys, value=ModelRow.id), updated_at=ModelRow.updated_at)
            )
            folded += len(left)
