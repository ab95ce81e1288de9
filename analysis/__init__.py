"""What a sweep means: reads results folders, writes tables, figures and a report beside the paper's own values.

It imports `galaxytl.trial` and `galaxytl.results` and nothing else of this project, and no deep-learning framework:
the only thing between a sweep and its analysis is the results folder, which can be copied to a laptop and read there.
`python -m analysis.run results/paper --out report/` is the way in; `analysis.gather.gather` and
`analysis.cells.fill_cells` are the same from Python.
"""
