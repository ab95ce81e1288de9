"""One tiny trial on a dataset, in this process: its id, and what must not depend on anything but the id.

python tests/fuzz/train.py DATA          # prints [trial_id, row] as its last line
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

FIELDS = ("status", "metrics", "confusion", "history", "num_images", "class_names")
"""Of a row, those that a trial id decides."""
CLOCKS = ("seconds",)


def row_of(data: str) -> tuple[str, dict[str, Any]]:
    """The trial id and the row's FIELDS of a head on a frozen MobileNet. Raises DataError where a sweep would stop."""
    from galaxytl.data import open_dataset
    from galaxytl.learning.job import Group, Workplace
    from galaxytl.training import train
    from sweep.prepare import check_content, check_splits
    from tests.galaxytl.trials import tiny_spec

    dataset = open_dataset(data)
    check_content(dataset, False, lambda *_: None)
    spec = tiny_spec(Path(data)).replace(backbone="MobileNet", preprocessing="divide_by_255")
    check_splits(dataset, [spec], lambda *_: None)
    with tempfile.TemporaryDirectory() as out:
        (result,) = train(Group((spec,)), Workplace(data, Path(out), num_threads=1))
    row = {name: value for name, value in result.to_dict().items() if name in FIELDS}
    epochs = [{name: v for name, v in epoch.items() if name not in CLOCKS} for epoch in row["history"]]
    return result.trial_id, json.loads(json.dumps({**row, "history": epochs}))


if __name__ == "__main__":
    from galaxytl.data import DataError
    from sweep.prepare import settle

    try:
        settle(lambda text: print(text, file=sys.stderr))
        print(json.dumps(row_of(sys.argv[1])))
    except (DataError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
