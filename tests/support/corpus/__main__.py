# SPDX-License-Identifier: Apache-2.0
"""Runs every network in every format, and writes what became of them to docs/coverage.json and docs/coverage.md."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from corpus.cell import cells_of
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
    pool = ProcessPoolExecutor(cores_allowed(), get_context("spawn"), max_tasks_per_child=25)
    with pool:
        waiting = {pool.submit(cells_of, name): name for name in names}
        for done, each in enumerate(as_completed(waiting), 1):
            if failure := each.exception():
                print(f"[{done}/{len(names)}] {waiting[each]} has no reference: {failure}", flush=True)  # noqa: T201 - progress
                continue
            table[waiting[each]] = each.result()
            worst = {form: cell for form, cell in table[waiting[each]].items() if cell[0] not in {"exact", "within"}}
            print(f"[{done}/{len(names)}] {waiting[each]} {worst or ''}", flush=True)  # noqa: T201 - progress
            write_table({name: table[name] for name in known if name in table})


if __name__ == "__main__":
    main(sys.argv[1:])
