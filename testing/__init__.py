"""Test equipment that the tests and the benchmarks share: the Hub double, pushes against it, and folders to push."""
