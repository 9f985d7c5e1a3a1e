"""How much an uploaded checkpoint may ask of the machine that inspects it."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every budget of one conversion; sizes in bytes, times in seconds.

    The memory budget is the same for any file because the conversion streams; the time budgets
    grow with the file.
    """

    max_source_bytes: int = 4 * GIB
    max_output_bytes: int = 4 * GIB
    max_tensors: int = 5_000
    max_dims: int = 8
    max_name_length: int = 512
    max_header_bytes: int = MIB  # of a safetensors file; a 12 MiB header costs its library 1.2 GB
    max_zip_entries: int = 20_000  # a weight with its gradient moments and aliases, times tensors
    max_zip_directory_bytes: int = 4 * MIB
    max_pickle_bytes: int = 8 * MIB
    max_pickle_ops: int = 1_000_000  # 5,000 tensors with an optimiser's moments need 600,000
    max_pickle_depth: int = 64  # of nested containers under construction
    max_pickle_tensors: int = 20_000  # an optimiser's included, which are never read
    max_aliases: int = 64  # times over that the tensors on one storage may add up to it
    max_strided_bytes: int = 128 * MIB  # a tensor in another than row-major order is held whole
    block_bytes: int = 4 * MIB
    memory_bytes: int = 512 * MIB
    open_files: int = 32
    cpu_seconds: float = 10.0
    wall_seconds: float = 60.0
    seconds_per_gib: float = 30.0  # added to both; measured need is about 5 CPU seconds

    def cpu_budget(self, source_bytes: int) -> float:
        """CPU seconds for a file of this size."""
        return self.cpu_seconds + self.seconds_per_gib * source_bytes / GIB

    def wall_budget(self, source_bytes: int) -> float:
        """Wall-clock seconds for a file of this size."""
        return self.wall_seconds + self.seconds_per_gib * source_bytes / GIB

    def output_budget(self, source_bytes: int) -> int:
        """Bytes the result may have: no tensor is kept twice, so only the header can add."""
        header = self.max_tensors * (self.max_name_length + 256) * 2
        return min(self.max_output_bytes, source_bytes + header)
