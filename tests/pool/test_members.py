"""Organisations in pools: who sees what, who changes whom, and that a pool keeps an owner."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import combinations

import pytest
from alembic import command
from sqlalchemy import insert, select, text

from pool.database import repository
from pool.database.paging import page
from pool.database.session import Database, create_engine_for
from pool.database.tables import (
    ApiKeyRow,
    BuildRow,
    MetaLearnerRow,
    ModelRow,
    OrganisationRow,
    PoolRow,
)
from pool.domain import ModelStatus, Recipe, Scope
from pool.errors import (
    BuildNotFound,
    LastOwner,
    MemberNotFound,
    MetaLearnerNotFound,
    ModelNotFound,
    NoUsableModels,
    OrganisationExists,
    OrganisationNotFound,
    PoolNameAmbiguous,
    PoolNotFound,
    RoleRequired,
)
from pool.roles import PERMITS, Action, Role
from pool.setup import alembic_config, migrate
from pool.storage.directory import DirectoryStore
from pool.usecases.build import cancel_build, start_build
from pool.usecases.members import list_members, remove_member, set_member
from pool.usecases.organisations import add_organisation
from pool.usecases.pools import create_pool
from pool.usecases.withdraw import withdraw_model
from tests.factories import model_row

Join = Callable[..., str]


@pytest.fixture
def shared(database: Database, organisation_id: str) -> PoolRow:
    """A pool of the bootstrapped organisation, for others to join."""
    with database.write() as session:
        return create_pool(session, organisation_id, name="shared", description=None)


@pytest.fixture
def join(database: Database, organisation_id: str, shared: PoolRow) -> Join:
    """A new organisation with these roles in the shared pool, none perhaps; its id."""

    def make(name: str, *roles: Role) -> str:
        with database.write() as session:
            added = add_organisation(session, name)
            if roles:
                set_member(session, organisation_id, shared.id, member_id=added.id, roles=roles)
        return added.id

    return make


def put_model(
    database: Database, pool: PoolRow, organisation_id: str, status: ModelStatus = ModelStatus.READY
) -> str:
    row = model_row(pool, status, organisation_id=organisation_id)
    with database.write() as session:
        session.add(row)
    return row.id


def order(database: Database, organisation_id: str, pool: str = "shared", **options: object) -> str:
    with database.write() as session:
        return start_build(
            session,
            organisation_id,
            pool_name=pool,
            recipe=Recipe(algorithm="free"),
            seed=1,
            **{"model_ids": None} | options,  # type: ignore[arg-type]
        ).id


@pytest.mark.parametrize(
    ("table", "action", "find", "missing"),
    [
        (ModelRow, Action.SEE_MODELS, repository.find_model, ModelNotFound),
        (BuildRow, Action.SEE_BUILDS, repository.find_build, BuildNotFound),
        (
            MetaLearnerRow,
            Action.SEE_META_LEARNERS,
            repository.find_meta_learner,
            MetaLearnerNotFound,
        ),
    ],
)
def test_a_record_is_listed_and_found_by_just_the_roles_that_show_it(
    database: Database,
    organisation_id: str,
    shared: PoolRow,
    join: Join,
    add_meta_learner: Callable[[str], MetaLearnerRow],
    table: type,
    action: Action,
    find: Callable[..., object],
    missing: type[Exception],
) -> None:
    put_model(database, shared, organisation_id)
    put_model(database, shared, organisation_id)
    add_meta_learner(order(database, organisation_id))
    with database.read() as session:
        record = session.scalars(select(table)).first()
    outsider = join("outsider")
    member = join("member", Role.CONSUMER)
    for roles in [{role} for role in Role] + [set(each) for each in combinations(Role, 2)]:
        with database.write() as session:
            set_member(session, organisation_id, shared.id, member_id=member, roles=roles)
        shown = bool(PERMITS[action] & roles)
        with database.read() as session:
            listed, _ = page(session, table, member, after=None, limit=9)
            assert (record.id in [row.id for row in listed]) is shown, roles
            if shown:
                assert find(session, member, record.id) is not None
            else:
                with pytest.raises(RoleRequired, match=min(PERMITS[action])):
                    find(session, member, record.id)
    with database.read() as session:
        assert page(session, table, outsider, after=None, limit=9) == ([], None)
        with pytest.raises(missing):
            find(session, outsider, record.id)


def test_a_build_uses_the_ready_models_of_all_members_and_of_no_other_pool(
    database: Database, organisation_id: str, shared: PoolRow, join: Join
) -> None:
    builder = join("builder", Role.BUILDER)
    contributors = [join(name, Role.CONTRIBUTOR) for name in ("east", "west")]
    used = {put_model(database, shared, each) for each in (*contributors, organisation_id)}
    put_model(database, shared, contributors[0], ModelStatus.REJECTED)
    with database.read() as session:
        elsewhere = repository.find_pool(session, contributors[0], "default")
    foreign = put_model(database, elsewhere, contributors[0])
    build_id = order(database, builder)
    with database.read() as session:
        build = repository.find_build(session, builder, build_id)
        assert {each.model_id for each in build.snapshot} == used
    with pytest.raises(ModelNotFound):
        order(database, builder, model_ids=[*used, foreign])
    with pytest.raises(NoUsableModels, match="another pool"):
        order(database, contributors[0], "default", model_ids=[*used, foreign])
    for role in set(Role) - PERMITS[Action.BUILD]:
        with pytest.raises(RoleRequired, match="owner or builder"):
            order(database, join(f"a {role}", role))


def test_a_contributor_withdraws_its_own_model_even_after_it_left_and_a_curator_any(
    database: Database,
    organisation_id: str,
    shared: PoolRow,
    join: Join,
    store: DirectoryStore,
) -> None:
    contributor, curator = join("contributor", Role.CONTRIBUTOR), join("curator", Role.CURATOR)
    own, other = (put_model(database, shared, contributor) for _ in range(2))
    for role in set(Role) - PERMITS[Action.CURATE]:
        with database.write() as session, pytest.raises(RoleRequired, match="owner or curator"):
            withdraw_model(session, store, join(f"a {role}", role), own)
    with database.write() as session:
        remove_member(session, contributor, "shared", member_id=contributor)
    with database.write() as session:
        assert withdraw_model(session, store, contributor, own).status == ModelStatus.WITHDRAWN
        assert withdraw_model(session, store, curator, other).status == ModelStatus.WITHDRAWN
    with database.read() as session:
        seen, _ = page(session, ModelRow, contributor, after=None, limit=9)
        assert {row.id for row in seen} == {own, other}
        with pytest.raises(PoolNotFound):
            repository.find_pool(session, contributor, "shared")


def test_a_builder_cancels_its_own_builds_and_a_curator_any(
    database: Database, organisation_id: str, shared: PoolRow, join: Join
) -> None:
    for _ in range(2):
        put_model(database, shared, organisation_id)
    builders = [join(name, Role.BUILDER) for name in ("one", "two")]
    curator = join("curator", Role.CURATOR)
    first, second = order(database, builders[0]), order(database, builders[0])
    with database.write() as session, pytest.raises(RoleRequired, match="owner or curator"):
        cancel_build(session, builders[1], first)
    with database.write() as session:
        cancel_build(session, builders[0], first)
        cancel_build(session, curator, second)


def test_a_pool_is_meant_by_its_id_or_by_a_name_that_is_ones_own_or_unique(
    database: Database, organisation_id: str, shared: PoolRow, join: Join
) -> None:
    member = join("member", Role.AUDITOR)
    with database.write() as session:
        rival = add_organisation(session, "rival").id
        other = create_pool(session, rival, name="shared", description=None)
        decoy = create_pool(session, rival, name=shared.id, description=None)

        def meant(name: str) -> str:
            return repository.find_pool(session, member, name).id

        assert meant("shared") == meant(shared.id) == shared.id
        for pool in (other, decoy):
            set_member(session, rival, pool.id, member_id=member, roles=[Role.AUDITOR])
        with pytest.raises(PoolNameAmbiguous, match="by its id"):
            meant("shared")
        assert (meant(other.id), meant(shared.id)) == (other.id, shared.id)
        own = create_pool(session, member, name="shared", description=None)
        assert meant("shared") == own.id
        with pytest.raises(PoolNotFound):
            repository.find_pool(session, member, "nowhere")


def test_only_owners_change_members_and_every_member_may_leave(
    database: Database, organisation_id: str, shared: PoolRow, join: Join
) -> None:
    second = join("second", Role.OWNER)
    for role in set(Role) - {Role.OWNER}:
        member = join(f"a {role}", role)
        with database.write() as session:
            for who in (member, second):
                with pytest.raises(RoleRequired):
                    set_member(session, member, shared.id, member_id=who, roles=[Role.OWNER])
            with pytest.raises(RoleRequired):
                remove_member(session, member, shared.id, member_id=second)
            remove_member(session, member, shared.id, member_id=member)
            with pytest.raises(MemberNotFound):
                remove_member(session, second, shared.id, member_id=member)
    with database.write() as session:
        with pytest.raises(OrganisationNotFound):
            set_member(session, second, shared.id, member_id="org_x", roles=[Role.BUILDER])
        remove_member(session, second, shared.id, member_id=organisation_id)
        with pytest.raises(LastOwner):
            remove_member(session, second, shared.id, member_id=second)
        with pytest.raises(LastOwner):
            set_member(session, second, shared.id, member_id=second, roles=[Role.CURATOR])
        found = list_members(session, second, shared.id)
    assert [(each.organisation, each.roles) for each in found] == [("second", [Role.OWNER])]


def test_of_two_owners_who_remove_each_other_at_once_one_stays(
    database: Database, organisation_id: str, shared: PoolRow, join: Join
) -> None:
    second = join("second", Role.OWNER)

    def remove_the_first() -> str:
        with database.write() as session:
            try:
                remove_member(session, second, shared.id, member_id=organisation_id)
            except (RoleRequired, PoolNotFound, LastOwner) as refusal:
                return type(refusal).__name__
        return "removed"

    with ThreadPoolExecutor(1) as threads:
        with database.write() as session:
            remove_member(session, organisation_id, shared.id, member_id=second)
            other = threads.submit(remove_the_first)
            wait([other], timeout=1)  # it would be through by now, did it not wait for this one
        assert other.result() in ("RoleRequired", "PoolNotFound")
    with database.read() as session:
        left = list_members(session, organisation_id, shared.id)
    assert [each.organisation_id for each in left] == [organisation_id]


def test_two_organisations_cannot_have_one_name(database: Database, organisation_id: str) -> None:
    with database.write() as session:
        with pytest.raises(OrganisationExists):
            add_organisation(session, "default")
        add_organisation(session, "another")
    with database.read() as session:
        assert len(session.scalars(select(PoolRow).where(PoolRow.name == "default")).all()) == 2


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_deployment_from_before_keeps_its_pools_and_its_admins_can_do_everything(
    request: pytest.FixtureRequest, tmp_path: object, kind: str
) -> None:
    url = (
        f"sqlite:///{tmp_path}/a.db"
        if kind == "sqlite"
        else request.getfixturevalue("postgres_url")
    )
    migrate(url, "0003")
    engine = create_engine_for(url)
    before = [scope for scope in Scope if scope not in (Scope.POOLS_ADMIN, Scope.AUDIT_READ)]
    with engine.begin() as connection:
        connection.execute(insert(OrganisationRow).values(id="org_1", name="default"))
        connection.execute(insert(PoolRow).values(id="pool_1", organisation_id="org_1", name="a"))
        for name, scopes in (("admin", before), ("reader", ["models:read"])):
            connection.execute(
                insert(ApiKeyRow.__table__).values(
                    id=name, organisation_id="org_1", name=name, secret_sha256=name, scopes=scopes
                )
            )
    migrate(url)
    database = Database(url)
    with database.read() as session:
        assert repository.find_pool(session, "org_1", "a", Action.MANAGE_MEMBERS).id == "pool_1"
        assert set(session.get_one(ApiKeyRow, "admin").scopes) == set(Scope)
        assert session.get_one(ApiKeyRow, "reader").scopes == ["models:read"]
    database.dispose()
    command.downgrade(alembic_config(url), "0003")
    with engine.connect() as connection:
        scopes = connection.execute(text("SELECT scopes FROM api_keys WHERE id = 'admin'")).scalar()
    engine.dispose()
    assert "pools:admin" not in str(scopes)
    assert "keys:admin" in str(scopes)
