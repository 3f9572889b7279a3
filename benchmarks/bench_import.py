"""What importing the package adds to NumPy and SciPy's linear algebra."""

from autograd_c.bench.overheads import import_costs


class Import:
    timeout = 120

    def track_added_seconds(self):
        return import_costs(processes=5)[1]

    track_added_seconds.unit = "seconds"
