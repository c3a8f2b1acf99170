"""Everything around the method: parameters, runs, figures, display, execution of notebooks, the `tad` command."""
