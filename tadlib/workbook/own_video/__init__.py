"""What detect.ipynb needs beyond the road: a video and words of your own as a data set, and what is shown of it."""
