"""The SQL truth: tables, sessions, repositories."""

from pool.database import access_tables as access_tables
from pool.database import alias_tables as alias_tables
from pool.database import audit_tables as audit_tables
from pool.database import fingerprints as fingerprints
from pool.database import heartbeat_tables as heartbeat_tables
from pool.database import limit_tables as limit_tables  # so that the metadata holds every table
from pool.database import upload_tables as upload_tables
from pool.database import validation_tables as validation_tables
