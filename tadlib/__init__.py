"""The apparatus of the zero-shot temporal action detection workbook.

`data`, `detector`, `naming` and `evaluation` hold the science, a folder for each notebook of the pipeline;
`workbook` checks parameters, keeps runs, executes notebooks and draws. Importing `tadlib` imports neither.
"""

__version__ = "0.1.0"
