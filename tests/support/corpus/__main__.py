# SPDX-License-Identifier: Apache-2.0
"""Runs every network in every format, and writes what became of them to docs/coverage.json and docs/coverage.md."""

import os
import sys
from multiprocessing import get_context

from corpus.cell import named_cells
from corpus.network import networks
from corpus.table import read_table, write_table
from edgeferry.models.system.cores import cores_allowed


def main(wanted: list[str]) -> None:
    """Run the networks named, or all, and write the table; what was not run stays as it is."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    known = networks()
    names = wanted or list(known)
    table = {name: cells for name, cells in read_table().items() if name in known}
    # A worker is started afresh after some networks: TensorFlow keeps what it traced.
    with get_context("spawn").Pool(cores_allowed(), maxtasksperchild=25) as pool:
        for done, (name, cells) in enumerate(pool.imap_unordered(named_cells, names), 1):
            table[name] = cells
            worst = {form: cell for form, cell in cells.items() if cell[0] not in {"exact", "within"}}
            print(f"[{done}/{len(names)}] {name} {worst or ''}", flush=True)  # noqa: T201 - progress
            write_table({each: table[each] for each in known if each in table})


if __name__ == "__main__":
    main(sys.argv[1:])
