"""The apparatus of the zero-shot temporal action detection workbook.

The science wing (`data`, `detector`, `naming`, `evaluation`) has one room for each notebook of the pipeline; the
`workbook` wing checks parameters, keeps runs, executes notebooks and draws. Importing `tadlib` imports neither.
"""

__version__ = "0.1.0"
