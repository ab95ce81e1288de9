"""What a sweep means: reads results folders, writes tables, figures and a report beside the paper's own values.

Of the rest of this project it imports what a row is and where rows lie (`tests/test_architecture.py` lists it), and no
deep-learning framework: the only thing between a sweep and its analysis is the results folder, which can be copied to
a laptop and read there, with the file of a search's Optuna study if it lies in it.
`python -m analysis.run results/paper --out report/` is the way in; `analysis.trials.load.gather` and
`analysis.trials.table1_cells.fill_cells` are the same from Python.
"""
