"""A folder of features, a simulation or videos: every source gives a data set that the notebooks can work on."""
