# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

from edgeferry.models.system.child import Child


def _after_keras() -> tuple[bool, int]:
    """Import Keras, and say whether scikit-learn came with it, and how many images its digits are."""
    import keras  # noqa: F401 - imported to be looked at

    came = "sklearn" in sys.modules
    from sklearn.datasets import load_digits

    return came, len(load_digits().images)


def test_keras_comes_without_scikit_learn_which_can_be_imported_after_it(tmp_path: Path) -> None:
    with Child() as child:
        assert child.call(_after_keras, log=tmp_path / "log") == (False, 1797)
