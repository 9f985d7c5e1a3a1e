"""Model records in bulk, as uploads and inspections would leave them: rows, no weights."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
BACKBONES = ("conv4", "conv4_64", "resnet10", "resnet12", "resnet18", "torchvision_resnet18")
DOMAINS = 20
SITES = 100
"""Names begin with one of so many sites."""
CONTRIBUTORS = 4
BESIDE = 4
"""Further pools, each a tenth as large, that the caller builds over or has nothing to do with."""
BATCH = 2000


def fill(database_url: str, count: int) -> str:
    """Put `count` models into the pool named default, and others beside it; the pool's id.

    The default organisation owns that pool, in which it and four others have as many models each;
    each of those owns one of the pools beside it, and half of them share it.
    """
    # Imported late: a machine that runs other benchmarks has no SQLAlchemy.
    from sqlalchemy import MetaData, create_engine, select

    engine = create_engine(database_url)
    tables = MetaData()
    tables.reflect(engine)
    models, pools = tables.tables["models"], tables.tables["pools"]
    with engine.begin() as connection:
        pool_id, owner = connection.execute(select(pools.c.id, pools.c.organisation_id)).one()
        owners = [owner, *(f"org_{n}" for n in range(CONTRIBUTORS))]
        for n in range(CONTRIBUTORS):
            made = {"created_at": START}
            connection.execute(
                tables.tables["organisations"]
                .insert()
                .values(id=f"org_{n}", name=f"organisation {n}", **made)
            )
            connection.execute(
                pools.insert().values(
                    id=f"pool_{n:020d}", organisation_id=f"org_{n}", name=f"pool {n}", **made
                )
            )
            roles = {"owner": f"org_{n}"} | ({"builder": owner} if n % 2 else {})
            for role, organisation_id in roles.items():
                connection.execute(
                    tables.tables["pool_members"].insert().values(
                        organisation_id=organisation_id,
                        pool_id=f"pool_{n:020d}", role=role, **made,
                    )
                )  # fmt: skip
        sets = [(pool_id, count), *((f"pool_{n:020d}", count // 10) for n in range(BESIDE))]
        for where, many in sets:
            rows = list(_records(where, owners, many))
            for start in range(0, many, BATCH):
                connection.execute(models.insert(), rows[start : start + BATCH])
    if engine.dialect.name == "postgresql":  # as autovacuum would have by then
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE)")
    engine.dispose()
    return str(pool_id)


def _records(pool_id: str, owners: list[str], count: int) -> Iterator[dict[str, Any]]:
    for n in range(count):
        digest = hashlib.sha256(f"{pool_id} {n}".encode()).hexdigest()
        draw = int(digest[:8], 16)
        status = "ready" if draw % 100 < 97 else "rejected" if draw % 100 < 99 else "withdrawn"
        name = f"site-{draw % SITES:02d} classifier {n}"
        yield {
            "id": f"mdl_{digest[:20]}",
            "organisation_id": owners[n % len(owners)],
            "pool_id": pool_id,
            "status": status,
            "reason": "It is a full pickle." if status == "rejected" else None,
            "reason_code": "full-pickle" if status == "rejected" else None,
            "recipe": None,
            "name": name,
            "name_key": name,
            "backbone": BACKBONES[draw // 100 % len(BACKBONES)],
            "class_names": [f"class {each}" for each in range(10)],
            "image_size": 32,
            "channels": 3,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "domain": f"domain-{draw // 1000 % DOMAINS}",
            "description": "A classifier of a benchmark.",
            "training_data_note": None,
            "dp_epsilon": None,
            "sha256": digest,
            "size_bytes": 460_000,
            "object_key": f"models/mdl_{digest[:20]}.safetensors" if status == "ready" else None,
            "canonical_sha256": digest if status == "ready" else None,
            "source_format": "safetensors",
            "n_parameters": 113_000,
            "created_at": START + timedelta(seconds=n),
            "updated_at": START + timedelta(seconds=n),
        }
