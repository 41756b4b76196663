"""Speed, shown by running the alternative beside ours and printing the ratio. `make bench` writes RESULTS.md."""
