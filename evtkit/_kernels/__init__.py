"""Everything that is compiled, and nothing else: these files import each other, NumPy and Numba."""
