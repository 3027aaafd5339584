"""The report of `dipmc reproduce`: one page of claims and studies, from the runs of experiments/paper/."""
