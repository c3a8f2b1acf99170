"""Everything around the science: parameters, runs, figures, display, execution of notebooks, the `tad` command."""
