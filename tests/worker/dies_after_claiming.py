"""Stands in for a job process: claims the job, then dies by SIGKILL."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pool.database import jobs
from pool.database.session import Database
from pool.settings import Settings

job_id, holder = sys.argv[1:]
database = Database(Settings().database)
with database.write() as session:
    jobs.claim(session, job_id, holder=holder, lease_s=60)
os.kill(os.getpid(), signal.SIGKILL)
