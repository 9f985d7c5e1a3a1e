"""Untrusted checkpoint bytes -> canonical safetensors, without torch and without executing them.

Covered: files meant to run code, to exhaust memory, disk or time, or to be read in two ways;
weights that are no numbers. Not covered: whether the weights fit a backbone (`ml.checkpoints`),
and whether they were trained to do harm.
"""

from pool.airlock.conversion import Converted, convert
from pool.airlock.limits import Limits
from pool.airlock.refusals import CATALOGUE, Refused
from pool.airlock.sandbox import convert_in_sandbox

__all__ = ["CATALOGUE", "Converted", "Limits", "Refused", "convert", "convert_in_sandbox"]
