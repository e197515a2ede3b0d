"""A pool as a folder of Parquet files, which `datasets.load_dataset` reads; needs `pyarrow`.

One file for each kind of record, flat columns, a `README.md` that names them, and a `pool.json`
with the header of the pool: digest, counts, embedder, and what each file has to hash to.
"""

from lanpo_memory.parquet.reading import header_of, is_folder, read_folder
from lanpo_memory.parquet.writing import write_folder

__all__ = ["header_of", "is_folder", "read_folder", "write_folder"]
